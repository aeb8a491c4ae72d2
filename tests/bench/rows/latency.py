"""How long until an event is seen, at 1,000 events a second in an open loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import asyncpg
import httpx
import orjson
from crm_chassis.apikeys import COLLECT, keep_key, new_write_key

from tests.bench.bench import Bench
from tests.bench.load import Sample, customer, latency, open_loop, samples
from tests.bench.processes import running, service
from tests.bench.product import analytics_on, contacts_on, mint, order
from tests.bench.row import Contestant, Row, Run, at_most
from tests.bench.topics import drop_topics

RATE = 1_000
BATCH = 10
SECONDS, WARM_SECONDS, QUICK_SECONDS = 20, 5, 2
PEOPLE = 500
LOOK_EVERY_S = 0.004
SEEN_WITHIN_S = 60
OWN = (
    "select array_agg(customer_id), array_agg(n) from (select customer_id, count(*) as n "
    "from timeline_entry group by customer_id) t"
)
SCORED = "select array_agg(customer_id), array_agg(counted) from engagement"


class Watch:
    """Which events are seen: the n-th of a customer when the read model counts n of theirs."""

    def __init__(self, pool: asyncpg.Pool, sql: str) -> None:
        self._pool = pool
        self._sql = sql
        self._waiting: dict[UUID, deque[float]] = defaultdict(deque)
        self._seen: dict[UUID, int] = defaultdict(int)
        self.took: list[tuple[float, float]] = []  # (from, seconds)
        self.owed = 0

    def expect(self, customer_id: UUID, since: float) -> None:
        self._waiting[customer_id].append(since)
        self.owed += 1

    def forget(self) -> None:
        """What was expected so far concerns nobody."""
        self._waiting.clear()
        self.owed = 0

    async def look(self) -> None:
        row = await self._pool.fetchrow(self._sql)
        now = time.perf_counter()
        for customer_id, counted in zip(row[0] or (), row[1] or (), strict=True):
            waiting = self._waiting[customer_id]
            while self._seen[customer_id] < counted and waiting:
                since = waiting.popleft()
                self._seen[customer_id] += 1
                self.owed -= 1
                self.took.append((since, now - since))

    async def begin_behind(self, count: int) -> None:
        """Wait until so many events are seen, and count from there."""
        async with asyncio.timeout(SEEN_WITHIN_S):
            while True:
                row = await self._pool.fetchrow(self._sql)
                if sum(row[1] or ()) >= count:
                    self._seen.update(zip(row[0], row[1], strict=True))
                    return
                await asyncio.sleep(LOOK_EVERY_S)

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def all_seen(self) -> None:
        async with asyncio.timeout(SEEN_WITHIN_S):
            while self.owed:
                await asyncio.sleep(LOOK_EVERY_S)


async def measured(
    bench: Bench,
    who: str,
    watch: Watch,
    send: Callable[[Sequence[Sample], float], Awaitable[None]],
) -> Run:
    """Send batches of ten in an open loop; what was due in the warm-up is not counted."""
    warm, seconds = (0, QUICK_SECONDS) if bench.quick else (WARM_SECONDS, SECONDS)
    events = list(people_only((warm + seconds) * RATE))

    async def begin(n: int, due: float) -> None:
        await send(events[n * BATCH : (n + 1) * BATCH], due)

    looking = asyncio.create_task(watch.run())
    try:
        async with bench.timed() as timed:
            began = time.perf_counter()
            late = await open_loop(begin, rate=RATE / BATCH, seconds=warm + seconds)
            await watch.all_seen()
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    took = [seconds for since, seconds in watch.took if since >= began + warm]
    return timed.run(
        "kith",
        who,
        events=len(took),
        latency=latency(took, late),
        correct=watch.owed == 0 and len(watch.took) == len(events),
        settings={"events/s": RATE, "a call": BATCH, "looked at every ms": LOOK_EVERY_S * 1e3},
    )


def people_only(count: int) -> Iterator[Sample]:
    """Events of 500 customers in turn, so that looking at all of them costs little."""
    for n, one in enumerate(samples(count)):
        yield one._replace(customer_id=customer(n % PEOPLE + 1))


@asynccontextmanager
async def own(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def kith() -> Run:
        await drop_topics(bench.kafka)
        async with contacts_on(bench) as placed, AsyncExitStack() as opened:
            core = placed.core
            await mint(core.pool, {one.customer_id for one in people_only(PEOPLE)})
            worker = service(bench, "contacts", placed.url, role="worker")
            await opened.enter_async_context(running(bench, worker=worker))
            watch = Watch(core.pool, OWN)

            async def send(batch: Sequence[Sample], _: float) -> None:
                await core.log.append(facts=[order(one) for one in batch])
                now = time.perf_counter()
                for one in batch:
                    watch.expect(one.customer_id, now)

            return await measured(bench, "contacts' timeline", watch, send)

    yield (kith,)


def others(by_http: bool) -> Callable[[Bench], AsyncIterator[Sequence[Contestant]]]:  # noqa: FBT001
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        async def kith() -> Run:
            await drop_topics(bench.kafka)
            async with (
                contacts_on(bench) as contacts,
                analytics_on(bench) as analytics,
                AsyncExitStack() as stack,
            ):
                core = contacts.core
                relay = service(bench, "contacts", contacts.url, role="worker")
                worker = service(bench, "analytics", analytics.url, role="worker")
                processes = {"relay": relay, "worker": worker}
                if by_http:
                    processes["api"] = service(bench, "contacts", contacts.url, role="api")
                await stack.enter_async_context(running(bench, **processes))
                watch = Watch(analytics.core.pool, SCORED)
                if not by_http:
                    await mint(core.pool, {one.customer_id for one in people_only(PEOPLE)})
                    return await measured(bench, "analytics' score", watch, _appending(core, watch))
                client = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
                key = new_write_key()
                await keep_key(core.pool, key, name="bench", scopes=[COLLECT])
                send = _posting(client, processes["api"].url, key, watch, core.pool)
                # Whoever is new is registered: known users are what is measured.
                for one in people_only(PEOPLE):
                    await send([one._replace(number=-one.number - 1)], time.perf_counter())
                await watch.begin_behind(PEOPLE)
                watch.forget()
                return await measured(bench, "collector to score", watch, send)

        yield (kith,)

    return opened


def _appending(core: object, watch: Watch) -> Callable[[Sequence[Sample], float], Awaitable[None]]:
    async def send(batch: Sequence[Sample], _: float) -> None:
        await core.log.append(facts=[order(one) for one in batch])
        now = time.perf_counter()
        for one in batch:
            watch.expect(one.customer_id, now)

    return send


def _posting(
    client: httpx.AsyncClient, url: str, key: str, watch: Watch, pool: asyncpg.Pool
) -> Callable[[Sequence[Sample], float], Awaitable[None]]:
    """From when a request was due; whom a user id belongs to is asked after the first answer."""
    known: dict[UUID, UUID] = {}

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
        while (await client.post(f"{url}/v1/batch", content=body)).status_code != httpx.codes.OK:
            await asyncio.sleep(
                LOOK_EVERY_S
            )  # as an SDK: again, and it counts from when it was due
        for one in batch:
            if one.customer_id not in known:
                known[one.customer_id] = await pool.fetchval(
                    "select partition_key from log where type = 'contacts.purchase.completed' "
                    "and data->>'message_id' = $1",
                    f"m{one.number}",
                )
            watch.expect(known[one.customer_id], due)

    return send


ROWS = (
    Row(
        "latency.own",
        does="commit to own read model, 1,000 events/s",
        contestants=own,
        bars=(at_most(50, "ms", figure="p99_ms"),),
        figure="p99_ms",
        unit="ms",
        keys="500 customers",
        runs=2,
    ),
    Row(
        "latency.other",
        does="commit to another service's read model, 1,000 events/s",
        contestants=others(by_http=False),
        bars=(at_most(100, "ms", figure="p99_ms"),),
        figure="p99_ms",
        unit="ms",
        reference="Streams exactly-once 153, Quix 140, prototype 64 to 77",
        keys="500 customers",
        runs=2,
    ),
    Row(
        "latency.http",
        does="HTTP event in to score readable, 1,000 events/s",
        contestants=others(by_http=True),
        bars=(at_most(500, "ms", figure="p99_ms"), at_most(100, "ms", figure="p50_ms")),
        figure="p99_ms",
        unit="ms",
        keys="500 customers",
        runs=2,
    ),
)
