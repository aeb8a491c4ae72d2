"""Appending to streams: 32 writers, one event each, beside the same SQL by bare asyncpg."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from crm_events.topics import PURCHASES
from crm_store.database import SESSION_LIMITS
from crm_store.ids import derived_id
from crm_store.log.append import APPEND_STREAMS
from crm_store.log.entries import Fact, NewEvent, StreamAppend
from crm_store.log.together import APPEND_EACH
from crm_store.partitioning import partition_of

from tests.bench.bench import Bench
from tests.bench.load import Keys, samples
from tests.bench.product import FACTS, Contacts, contacts_on, mint, order, stored
from tests.bench.row import Contestant, Contestants, Row, Run, of_ceiling, times_peer

WRITERS = 32
EVENTS = 24_000
ONE_EACH = {"writers": WRITERS, "events a call": 1}


async def _written(placed: Contacts) -> int:
    """How many rows there are, 0 if any stream's versions are not 1, 2, 3 and so on."""
    return await placed.core.pool.fetchval(
        "select case when bool_and(whole) then sum(rows)::int else 0 end from ("
        "select count(*) as rows, count(*) = max(version) as whole from log group by stream_id) s"
    )


def _appends(bench: Bench, keys: Keys) -> list[list[StreamAppend]]:
    """Those of each writer: a customer's events are versions of a stream of writer and customer."""
    versions: dict[UUID, int] = {}
    shares: list[list[StreamAppend]] = [[] for _ in range(WRITERS)]
    for one in samples(bench.size(EVENTS, quick=2_000), keys=keys):
        writer = one.number % WRITERS
        stream_id = derived_id(FACTS, str(one.customer_id), str(writer))
        version = versions.get(stream_id, 0)
        versions[stream_id] = version + 1
        shares[writer].append(StreamAppend(stream_id, version, (order(one).event,)))
    return shares


def arguments(append: StreamAppend) -> tuple[Any, ...]:
    """What `log_append` is given for a stream's one event."""
    (new,) = append.events
    return (
        1, new.occurred_at, [append.stream_id], [append.expected_version], [], [], [],
        [append.stream_id], [append.expected_version + 1], *columns([new]),
    )  # fmt: skip


def shared(appends: Sequence[StreamAppend]) -> tuple[Any, ...]:
    """What `log_append_each` is given for so many callers, one event each."""
    news = [new for append in appends for new in append.events]
    streams, calls = [append.stream_id for append in appends], list(range(len(appends)))
    expected = [append.expected_version for append in appends]
    return (
        1, calls, streams, expected, calls, [new.occurred_at for new in news], streams,
        [version + 1 for version in expected], *columns(news),
    )  # fmt: skip


def columns(news: Sequence[NewEvent]) -> tuple[list[Any], ...]:
    """The columns of events of one topic, but for stream and version."""
    events = [new.event for new in news]
    return (
        [new.event_id for new in news],
        [event.type for event in events],
        [event.version for event in events],
        [new.partition_key for new in news],
        [new.occurred_at for new in news],
        [PURCHASES.name] * len(news),
        [partition_of(new.partition_key, PURCHASES.partitions) for new in news],
        [stored(Fact(new.event_id, new)) for new in news],
        [None] * len(news),
    )


@asynccontextmanager
async def connections(url: str, count: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """Of the bare driver, under the limits of the product's sessions."""
    async with AsyncExitStack() as opened:
        made: list[asyncpg.Connection] = []
        for _ in range(count):
            connection = await asyncpg.connect(url, server_settings=SESSION_LIMITS)
            opened.push_async_callback(connection.close)
            made.append(connection)
        yield made


async def warm(pool: asyncpg.Pool, connections: int) -> None:
    """Have the pool connect: how long that takes is no part of what is measured."""
    await asyncio.gather(*(pool.execute("select pg_sleep(0.2)") for _ in range(connections)))


def contestants(keys: Keys) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        shares = _appends(bench, keys)
        events = sum(map(len, shares))
        customers = {
            new.partition_key
            for append in itertools.chain.from_iterable(shares)
            for new in append.events
        }

        async def kith() -> Run:
            async with contacts_on(bench, connections=WRITERS) as placed:
                log = placed.core.log
                await mint(placed.core.pool, customers)
                await warm(placed.core.pool, WRITERS)

                async def write(share: list[StreamAppend]) -> None:
                    for append in share:
                        await log.append(streams=[append])

                async with bench.timed() as timed:
                    await asyncio.gather(*map(write, shares))
                correct = await _written(placed) == events
            return timed.run(
                "kith", "Log.append", events=events, correct=correct, settings=ONE_EACH
            )

        async def bare() -> Run:
            prepared = [[arguments(append) for append in share] for share in shares]
            async with (
                contacts_on(bench) as placed,
                connections(placed.url, WRITERS) as opened,
            ):

                async def write(
                    connection: asyncpg.Connection, share: list[tuple[Any, ...]]
                ) -> None:
                    statement = await connection.prepare(APPEND_STREAMS)
                    for each in share:
                        await statement.fetch(*each)

                async with bench.timed() as timed:
                    await asyncio.gather(*map(write, opened, prepared))
                correct = await _written(placed) == events
            return timed.run("ceiling", "bare asyncpg, a call each", events=events, correct=correct)

        async def bare_shared() -> Run:
            rounds = itertools.zip_longest(*shares)
            prepared = [shared([one for one in each if one is not None]) for each in rounds]
            async with contacts_on(bench) as placed, connections(placed.url, 1) as (connection,):
                statement = await connection.prepare(APPEND_EACH)
                async with bench.timed() as timed:
                    for each in prepared:
                        await statement.fetch(*each)
                correct = await _written(placed) == events
            return timed.run(
                "ceiling",
                "bare asyncpg, shared",
                events=events,
                correct=correct,
                settings={"connections": 1, "calls a statement": WRITERS},
            )

        yield kith, bare, bare_shared

    return opened


ROWS = tuple(
    Row(
        name,
        does="appended to streams by 32 writers, one event a call, sealed, durable at the answer",
        contestants=contestants(keys),
        bars=(of_ceiling(0.7), times_peer(2.5, "pyeventsourcing")),
        reference="bare 3.4k to 6.5k, pyeventsourcing 2.7k",
        keys=said,
        promises={
            "Log.append": "durable, expected versions checked, once",
            "bare asyncpg": "the same statement, a transaction for each call; sealed beforehand",
            "bare asyncpg, shared": "the statement that Kith sends, 32 callers in one transaction; "
            "sealed beforehand, no caller waits for another to come",
        },
    )
    for name, keys, said in (
        ("append.streams", "Zipf", "Zipf, a stream for each writer and customer"),
        ("append.streams.unique", "unique", "every event its own stream"),
    )
)
