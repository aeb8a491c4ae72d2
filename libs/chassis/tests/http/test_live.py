"""Live streams over a real server and a real log: resumed exactly, or told to begin anew."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from asking import app_of
from crm_chassis.http import live_history
from crm_chassis.http.access import requires
from crm_chassis.http.live import LastSeen, LiveResponse, answer_live
from crm_chassis.http.live_client import Limits, Message, Stream
from crm_chassis.http.live_feed import Feed
from crm_chassis.http.serving import UNREAD_MS, _listen
from crm_events.errors import UndecodableError
from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.log import epochs
from crm_store.log.tail import PAGE
from fastapi import APIRouter, Depends
from probe import Counted
from streaming import blocks, listening, messages, served

LIMITS = Limits(most_clients=5, most_behind_rows=500, most_waiting_bytes=2_000, heartbeat_s=0.05)
LIVE = "/things/live"


UNREADABLE = -1


def count_told(logged, at) -> Message:
    if logged.event.number == UNREADABLE:
        raise UndecodableError(logged.event_id, "it is of a later release")
    return Message("counted", {"number": logged.event.number})


COUNTS = Stream("things", "1", (Counted.type,), count_told)


class Counting:
    """The pool, and how many reads of the log through it found rows."""

    def __init__(self, pool):
        self._pool = pool
        self.found = 0

    async def fetch(self, statement, *args):
        rows = await self._pool.fetch(statement, *args)
        self.found += PAGE in statement and any(row["gp"] is not None for row in rows)
        return rows

    def __getattr__(self, name):
        return getattr(self._pool, name)


@dataclass
class Streaming:
    """A process that streams, and its callers."""

    feed: Feed
    pool: Counting
    client: httpx.AsyncClient
    stop: asyncio.Event
    running: asyncio.Task[bool]


def feed_of(pool, probe) -> Feed:
    return Feed(
        pool=pool,
        contract=probe.contract,
        stream=COUNTS,
        wake=probe.wakeups.subscribe(),
        clock=utc_now,
        limits=LIMITS,
    )


def streaming_router(feed: Feed) -> APIRouter:
    router = APIRouter(dependencies=[Depends(requires("things:read"))])

    @router.get(LIVE, response_class=LiveResponse)
    async def live(last: LastSeen, only: int | None = None) -> LiveResponse:
        return await answer_live(
            feed, last, lambda message: only is None or message.data["number"] == only
        )

    return router


@pytest.fixture
async def streaming(pool, probe, key) -> AsyncIterator[Streaming]:
    counting: Any = Counting(pool)
    feed = feed_of(counting, probe)
    async with served(app_of(pool, streaming_router(feed)), feed, key) as process:
        yield Streaming(feed, counting, process.client, process.stop, process.running)


def numbers(heard) -> list[int]:
    return [each.data["number"] for each in heard]


async def test_a_client_resumes_exactly_behind_the_last_id_it_has(streaming, probe):
    customer = new_id()
    async with listening(streaming.client, LIVE) as heard:
        first = await anext(heard)
        await probe.count(customer, 1, 2, 3)
        begun = await messages(heard, 3)
    await probe.count(customer, 4, 5)

    async with listening(streaming.client, LIVE, begun[1].id) as heard:
        missed = await messages(heard, 3)
        await probe.count(customer, 6)
        missed += await messages(heard, 1)
    async with listening(streaming.client, f"{LIVE}?last_event_id={missed[-2].id}") as heard:
        by_query = await messages(heard, 1)
    async with listening(streaming.client, f"{LIVE}?only=4", first.id) as heard:
        only = await messages(heard, 1)

    assert (first.data, first.retry) == (None, 2_000)
    assert {each.event for each in begun} == {"counted"}
    assert numbers(begun) == [1, 2, 3]
    assert numbers(missed) == [3, 4, 5, 6]
    assert (numbers(by_query), numbers(only)) == ([6], [4])


async def test_what_a_client_missed_may_be_more_than_one_read_of_the_log(
    streaming, probe, monkeypatch
):
    monkeypatch.setattr(live_history, "PAGE_ROWS", 2)
    async with listening(streaming.client, LIVE) as heard:
        first = await anext(heard)
    await probe.count(new_id(), *range(1, 8))

    async with listening(streaming.client, LIVE, first.id) as heard:
        assert numbers(await messages(heard, 7)) == [1, 2, 3, 4, 5, 6, 7]


async def test_clients_that_come_and_go_lose_nothing_and_hear_nothing_twice(streaming, probe):
    """Many write at once, in transactions that commit in another order than they began in."""
    chance = random.Random(7)  # noqa: S311  # where a client breaks off
    async with listening(streaming.client, LIVE) as heard:
        last_id = (await anext(heard)).id

    async def write(writer: int) -> None:
        for step in range(20):
            await probe.count(new_id(), *(writer * 1_000 + step * 10 + n for n in range(3)))

    async def follow(last_id: str) -> list[int]:
        found: list[int] = []
        while len(found) < 8 * 60:
            async with listening(streaming.client, LIVE, last_id) as heard:
                some = await messages(heard, min(chance.randint(1, 90), 8 * 60 - len(found)))
            assert {each.event for each in some} <= {"counted"}
            found += numbers(some)
            last_id = some[-1].id if some else last_id  # it was let go, and comes again
        return found

    one, other, *_ = await asyncio.gather(
        follow(last_id), follow(last_id), *(write(writer) for writer in range(8))
    )

    assert one == other
    assert len(set(one)) == 8 * 60
    assert all(numbers == sorted(numbers) for numbers in (
        [n for n in one if n // 1_000 == writer] for writer in range(8)
    ))  # fmt: skip


async def test_who_comes_from_a_process_that_is_ahead_hears_nothing_twice(streaming, probe, pool):
    late = feed_of(pool, probe)  # turned by hand
    holding = asyncio.create_task(late.listen(None))
    await asyncio.sleep(0)
    await late._turn()
    await holding
    async with listening(streaming.client, LIVE) as heard:
        await anext(heard)
        await probe.count(new_id(), 1)
        await probe.count(new_id(), 2)
        first, _ = await messages(heard, 2)

    client = await late.listen(first.id)
    stream = client.chunks()
    opening = await anext(stream)
    await late._turn()
    told = await anext(stream)

    assert f"id: {first.id}\n" in opening.decode()
    assert b'{"number":2}' in told
    assert b'{"number":1}' not in told


@pytest.mark.parametrize("last_id", ["x", "1.2.3", "1.2.3." + "0" * 16, "1.2.x.abc", "."])
async def test_an_id_that_is_none_of_this_stream_is_told_to_begin_anew(streaming, probe, last_id):
    async with listening(streaming.client, LIVE, last_id) as heard:
        [reset] = await messages(heard, 1)
        await probe.count(new_id(), 1)
        told = await messages(heard, 1)

    assert (reset.event, reset.data) == ("reset", {"reason": "gone"})
    assert reset.id is not None
    assert numbers(told) == [1]


async def test_who_is_too_far_behind_begins_anew_and_who_is_quiet_does_not_fall_behind(
    streaming, probe
):
    customer = new_id()
    async with listening(streaming.client, f"{LIVE}?only=0") as heard:
        first = await anext(heard)
        await probe.count(customer, *range(1, 601))
        beat = await anext(heard)
        while beat.id == first.id:
            beat = await anext(heard)
    assert beat.id is not None

    async with listening(streaming.client, LIVE, first.id) as heard:
        [reset] = await messages(heard, 1)
    async with listening(streaming.client, LIVE, beat.id) as heard:
        await probe.count(customer, 0)
        told = await messages(heard, 1)

    assert (reset.event, reset.data) == ("reset", {"reason": "gone"})
    assert (beat.event, beat.data) == ("", None)
    assert told[0].event == "counted"


async def test_another_run_of_the_log_is_told_to_those_who_listen_and_to_those_who_come(
    streaming, probe, pool
):
    async with listening(streaming.client, LIVE) as heard:
        await probe.count(new_id(), 1)
        [before] = await messages(heard, 1)
        assert await epochs.begin(pool, await epochs.newest(pool))
        [reset] = await messages(heard, 1)
    async with listening(streaming.client, LIVE, before.id) as heard:
        [again] = await messages(heard, 1)
    async with listening(streaming.client, LIVE, reset.id) as heard:
        resumed = await anext(heard)

    assert (reset.event, reset.data) == ("reset", {"reason": "log-exchanged"})
    assert (again.event, again.data) == ("reset", {"reason": "gone"})
    assert resumed.data is None


async def test_an_event_that_this_release_cannot_read_is_told_as_a_reset(streaming, probe):
    async with listening(streaming.client, LIVE) as heard:
        first = await anext(heard)
        await probe.count(new_id(), UNREADABLE)
        [reset] = await messages(heard, 1)
        await probe.count(new_id(), 2)
        told = await messages(heard, 1)
    async with listening(streaming.client, LIVE, first.id) as heard:
        [again] = await messages(heard, 1)

    assert (reset.event, reset.data) == ("reset", {"reason": "unreadable"})
    assert numbers(told) == [2]
    assert (again.event, again.data) == ("reset", {"reason": "unreadable"})


async def test_a_client_too_many_is_told_to_come_again(streaming):
    held = [await streaming.feed.listen(None) for _ in range(LIMITS.most_clients)]

    refused = await streaming.client.get(LIVE)
    held[0].end("gone")

    assert refused.status_code == 503
    assert refused.json()["type"].endswith(":busy")
    assert refused.headers["retry-after"] == "5"
    async with listening(streaming.client, LIVE):
        pass
    for each in held[1:]:
        each.end("gone")


async def test_a_client_that_does_not_read_is_ended_and_resumes_where_it_was(streaming, probe):
    slow = await streaming.feed.listen(None)
    reading = slow.chunks()
    opening = await anext(reading)
    last_id = opening.decode().split("id: ")[1].split("\n")[0]

    for number in range(100):
        await probe.count(new_id(), number)
    async with asyncio.timeout(60):
        await slow.ended.wait()

    assert [chunk async for chunk in reading] == []
    async with listening(streaming.client, LIVE, last_id) as heard:
        assert numbers(await messages(heard, 10)) == list(range(10))


async def test_one_read_of_the_log_is_for_all_who_listen(streaming, probe):
    clients = [await streaming.feed.listen(None) for _ in range(3)]
    streams = [client.chunks() for client in clients]
    for stream in streams:
        await anext(stream)

    await probe.count(new_id(), 1)
    async with asyncio.timeout(60):
        for stream in streams:
            while b'{"number":1}' not in await anext(stream):
                pass

    assert streaming.pool.found == 1
    for client in clients:
        client.end("gone")


async def test_a_process_that_is_told_to_end_ends_its_streams_at_once(streaming):
    """Else the server waits for them as for any request, and breaks them off: an error here."""
    async with streaming.client.stream("GET", LIVE) as answer:
        heard = blocks(answer)
        await anext(heard)

        streaming.stop.set()
        async for _ in heard:
            pass

    assert await streaming.running


async def test_a_stream_asks_for_its_scope(streaming):
    answer = await streaming.client.get(LIVE, headers={"Authorization": "Bearer kith_no"})

    assert answer.status_code == 401


@pytest.mark.enable_socket
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the limit")
def test_a_connection_whose_peer_takes_nothing_is_broken_off_by_the_kernel():
    with (
        _listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        limit = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert limit == UNREAD_MS
