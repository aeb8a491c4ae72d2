"""How long until an event is seen, at 1,000 events a second in an open loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import asyncpg
import httpx
import orjson
from crm_chassis.apikeys import COLLECT, keep_key, new_write_key
from crm_chassis.core import Core

from tests.bench import bare_latency
from tests.bench.bare_latency import Bare
from tests.bench.bench import Bench
from tests.bench.load import Sample, customer, samples
from tests.bench.processes import running, service
from tests.bench.product import Analytics, analytics_on, contacts_on, mint, order
from tests.bench.row import Bar, Contestant, Contestants, Row, Run, at_most
from tests.bench.topics import drop_topics
from tests.bench.watching import BATCH, RATE, SEEN_WITHIN_S, Watch, lasting, measured

HTTP_BATCH = 100
"""Events a request: what an SDK gathers before it sends."""
PEOPLE = 500
Whose = Literal["500", "unique"]
"""500 customers in turn, or every event its own."""
OWN = "select count(*)::int from timeline_entry where type = 'contacts.purchase.completed'"
SCORED = "select coalesce(sum(counted), 0)::int from engagement"


def events_of(bench: Bench, whose: Whose) -> list[Sample]:
    """Those of the warm-up, and those that count."""
    count = sum(lasting(bench)) * RATE
    return list(people_only(count) if whose == "500" else samples(count, keys="unique"))


def people_only(count: int) -> Iterator[Sample]:
    """Events of 500 customers in turn."""
    for n, one in enumerate(samples(count)):
        yield one._replace(customer_id=customer(n % PEOPLE + 1))


def own(whose: Whose) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = events_of(bench, whose)

        async def kith() -> Run:
            await drop_topics(bench.kafka)
            async with contacts_on(bench) as placed, AsyncExitStack() as stack:
                core = placed.core
                await mint(core.pool, (one.customer_id for one in events))
                worker = service(bench, "contacts", placed.url, role="worker")
                await stack.enter_async_context(running(bench, worker=worker))
                await stack.enter_async_context(waking(core))
                watch = Watch(core.pool, "timeline", OWN)
                send = _appending(_log_append(core), watch)
                return await measured(bench, "contacts' timeline", watch, send, events=events)

        yield kith, lambda: _bare(bench, bare_latency.own, "timeline", OWN, events)

    return opened


async def _bare(
    bench: Bench,
    opened: Callable[[Bench, str], AbstractAsyncContextManager[tuple[asyncpg.Pool, Bare]]],
    model: str,
    count: str,
    events: Sequence[Sample],
) -> Run:
    async with opened(bench, model) as (pool, bare):
        bare.prepare(events, at_once=BATCH)
        watch = Watch(pool, model, count)
        send = _appending(bare.append, watch)
        return await measured(bench, "bare drivers", watch, send, kind="ceiling", events=events)


def other(whose: Whose) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = events_of(bench, whose)

        async def kith() -> Run:
            async with _both(bench) as (contacts, analytics):
                core = contacts.core
                await mint(core.pool, (one.customer_id for one in events))
                async with waking(core):
                    watch = Watch(analytics.core.pool, "score.engagement", SCORED)
                    send = _appending(_log_append(core), watch)
                    return await measured(bench, "analytics' score", watch, send, events=events)

        bare = partial(_bare, bench, bare_latency.other, "score.engagement", SCORED, events)
        yield kith, bare

    return opened


def http(whose: Whose) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = events_of(bench, whose)

        async def kith() -> Run:
            async with (
                _both(bench, api=True) as (contacts, analytics),
                httpx.AsyncClient(timeout=30) as client,
            ):
                key = new_write_key()
                await keep_key(contacts.core.pool, key, name="bench", scopes=[COLLECT])
                watch = Watch(analytics.core.pool, "score.engagement", SCORED)
                send = _posting(client, contacts.api_url, key, watch)
                known = await _make_known(events, send)
                await watch.all_seen(known)
                watch.forget()
                return await measured(
                    bench, "collector to score", watch, send,
                    at_once=HTTP_BATCH, before=known, events=events,
                )  # fmt: skip

        yield (kith,)

    return opened


async def _make_known(
    events: Iterable[Sample], send: Callable[[Sequence[Sample], float], Awaitable[None]]
) -> int:
    """Register whoever is new, an event each: known users are what is measured; how many."""
    people = list(
        {one.customer_id: one._replace(number=-one.number - 1) for one in events}.values()
    )
    for first in range(0, len(people), HTTP_BATCH):
        await send(people[first : first + HTTP_BATCH], time.perf_counter())
    return len(people)


@dataclass(frozen=True)
class Publisher:
    """contacts, whose worker runs and, where it was asked for, whose API answers."""

    core: Core
    api_url: str


@asynccontextmanager
async def _both(bench: Bench, *, api: bool = False) -> AsyncIterator[tuple[Publisher, Analytics]]:
    """contacts and analytics with their workers."""
    await drop_topics(bench.kafka)
    async with contacts_on(bench) as contacts, analytics_on(bench) as analytics:
        processes = {
            "relay": service(bench, "contacts", contacts.url, role="worker"),
            "worker": service(bench, "analytics", analytics.url, role="worker"),
        }
        url = ""
        if api:
            processes["api"] = service(bench, "contacts", contacts.url, role="api")
            url = processes["api"].url
        async with running(bench, **processes):
            yield Publisher(contacts.core, url), analytics


@asynccontextmanager
async def waking(core: Core) -> AsyncIterator[None]:
    """What is appended here is told to the workers, as a service's own process tells them."""
    stop = asyncio.Event()
    telling = asyncio.create_task(core.wakeups.run(stop, beat=lambda: None))
    try:
        yield
    finally:
        stop.set()
        await telling


def _log_append(core: Core) -> Callable[[Sequence[Sample]], Awaitable[object]]:
    return lambda batch: core.log.append(facts=[order(one) for one in batch])


def _appending(
    append: Callable[[Sequence[Sample]], Awaitable[object]], watch: Watch
) -> Callable[[Sequence[Sample], float], Awaitable[None]]:
    async def send(batch: Sequence[Sample], _: float) -> None:
        await append(batch)
        now = time.perf_counter()
        for one in batch:
            watch.expect(f"m{one.number}", now)

    return send


def _posting(
    client: httpx.AsyncClient, url: str, key: str, watch: Watch
) -> Callable[[Sequence[Sample], float], Awaitable[None]]:
    """From when a request was due."""

    async def send(batch: Sequence[Sample], due: float) -> None:
        messages = [
            {
                "type": "track",
                "event": "Order Completed",
                "messageId": f"m{one.number}",
                "userId": str(one.customer_id),
                "properties": {"order_id": f"o{one.number}", "total": 1, "currency": "EUR"},
            }
            for one in batch
        ]
        body = orjson.dumps({"batch": messages, "writeKey": key})
        async with asyncio.timeout(SEEN_WITHIN_S):
            answer = await client.post(f"{url}/v1/batch", content=body)
            while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                # As an SDK: when it is told to, and it counts from when it was due.
                await asyncio.sleep(float(answer.headers["retry-after"]))
                answer = await client.post(f"{url}/v1/batch", content=body)
        answer.raise_for_status()
        for one in batch:
            watch.expect(f"m{one.number}", due)

    return send


def _rows(
    name: str,
    does: str,
    measured: Callable[[Whose], Contestants],
    bars: Sequence[Bar],
    promises: Mapping[str, str],
    *,
    reference: str = "",
    no_ceiling: str = "",
) -> tuple[Row, Row]:
    """The row, and the one with the hard keys beside it, under the same bars."""
    easy = Row(
        name,
        does=does,
        contestants=measured("500"),
        bars=tuple(bars),
        figure="p99_ms",
        unit="ms",
        reference=reference,
        keys="500 customers",
        promises=promises,
        no_ceiling=no_ceiling,
        runs=2,
    )
    hard = replace(
        easy,
        name=f"{name}.unique",
        contestants=measured("unique"),
        reference="",
        keys="every event its own customer",
    )
    return easy, hard


ROWS = (
    *_rows(
        "latency.own",
        "commit to own read model, 1,000 events/s",
        own,
        [at_most(50, "ms", figure="p99_ms")],
        {
            "contacts' timeline": "durable; exactly once in the read model",
            "bare drivers": "the same steps in one process, sealed beforehand; nothing opened",
        },
    ),
    *_rows(
        "latency.other",
        "commit to another service's read model, 1,000 events/s",
        other,
        [at_most(100, "ms", figure="p99_ms")],
        {
            "analytics' score": "durable; exactly once in the other service's score, in order",
            "bare drivers": "the same steps in one process; counted, not scored; no headers, "
            "no marks, no lease: a crash loses or doubles",
        },
        reference="Streams exactly-once 153, Quix 140, prototype 64 to 77",
    ),
    *_rows(
        "latency.http",
        "HTTP event in to score readable, 1,000 events/s",
        http,
        [at_most(500, "ms", figure="p99_ms"), at_most(100, "ms", figure="p50_ms")],
        {"collector to score": "durable at the answer, once by message id; scored exactly once"},
        no_ceiling="that of `latency.other`, with the bare `collector` before it",
    ),
)
