"""How long until an event is seen, at 1,000 events a second in an open loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from operator import itemgetter

import asyncpg
import httpx
import orjson
from contacts.bootstrap import Core
from crm_chassis.apikeys import COLLECT, keep_key, new_write_key
from crm_chassis.log.position import START, Position
from crm_chassis.log.tail import position_of

from tests.bench import bare_latency
from tests.bench.bare_latency import Bare
from tests.bench.bench import Bench
from tests.bench.load import Sample, customer, latency, open_loop, samples
from tests.bench.processes import running, service
from tests.bench.product import analytics_on, contacts_on, mint, order
from tests.bench.row import Contestant, Kind, Row, Run, at_most
from tests.bench.topics import drop_topics

RATE = 1_000
BATCH = 10
HTTP_BATCH = 100
"""Events a request: what an SDK gathers before it sends."""
SECONDS, WARM_SECONDS, QUICK_SECONDS = 20, 20, 2
PEOPLE = 500
LOOK_EVERY_S = 0.008
SEEN_EVERY_S = 0.1
SEEN_WITHIN_S = 60
PURCHASES = """
select l.data ->> 'message_id', l.epoch, l.xid::text as xid, l.gp from log l
where l.type = 'contacts.purchase.completed' order by l.epoch, l.xid, l.gp
"""
STANDS = "select epoch, xid::text as xid, gp from projection_checkpoint where name = $1"
OWN = "select count(*)::int from timeline_entry where type = 'contacts.purchase.completed'"
SCORED = "select coalesce(sum(counted), 0)::int from engagement"


class Watch:
    """When each event was to be seen in a read model: when its checkpoint had passed the event.

    The checkpoint moves with the rows, so looking at it costs one row, however many there are.
    """

    def __init__(self, pool: asyncpg.Pool, model: str, count: str) -> None:
        self._pool = pool
        self._model = model
        self._count = count
        self._since: dict[str, float] = {}  # by message id
        self._stood: list[tuple[Position, float]] = []  # where, first seen when

    def forget(self) -> None:
        """What was expected so far concerns nobody."""
        self._since.clear()

    def expect(self, message_id: str, since: float) -> None:
        self._since[message_id] = since

    async def run(self) -> None:
        while True:
            row = await self._pool.fetchrow(STANDS, self._model)
            at = START if row is None else position_of(row)  # none until the worker runs
            if not self._stood or at > self._stood[-1][0]:
                self._stood.append((at, time.perf_counter()))
            await asyncio.sleep(LOOK_EVERY_S)

    async def all_seen(self, count: int) -> bool:
        """Wait until the model counts so many; False where it counts more."""
        async with asyncio.timeout(SEEN_WITHIN_S):
            while (found := await self._pool.fetchval(self._count)) < count:
                await asyncio.sleep(SEEN_EVERY_S)
        return found == count

    async def took(self) -> list[tuple[float, float]]:
        """Of each event that was expected since when, and for how many seconds."""
        found: list[tuple[float, float]] = []
        for row in await self._pool.fetch(PURCHASES):
            since = self._since.get(row[0])
            place = bisect_left(self._stood, position_of(row), key=itemgetter(0))
            if since is not None and place < len(self._stood):
                found.append((since, self._stood[place][1] - since))
        return found


async def measured(  # each named at the call
    bench: Bench,
    who: str,
    watch: Watch,
    send: Callable[[Sequence[Sample], float], Awaitable[None]],
    *,
    kind: Kind = "kith",
    at_once: int = BATCH,
    before: int = 0,
) -> Run:
    """Send `at_once` events each in an open loop; what was due in the warm-up is not counted.

    `before`: events that the model counts already.
    """
    warm, seconds = lasting(bench)
    events = events_of(bench)

    async def begin(n: int, due: float) -> None:
        await send(events[n * at_once : (n + 1) * at_once], due)

    looking = asyncio.create_task(watch.run())
    try:
        async with bench.timed() as timed:
            began = time.perf_counter()
            late = await open_loop(begin, rate=RATE / at_once, seconds=warm + seconds)
            counted = await watch.all_seen(before + len(events))
            await asyncio.sleep(LOOK_EVERY_S * 2)  # the last look is behind the last event
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    every = await watch.took()
    took = [seconds for since, seconds in every if since >= began + warm]
    return timed.run(
        kind,
        who,
        events=len(took),
        latency=latency(took, late),
        correct=counted and len(every) == len(events),
        settings={"events/s": RATE, "a call": at_once, "looked at every ms": LOOK_EVERY_S * 1e3},
    )


def lasting(bench: Bench) -> tuple[int, int]:
    """Seconds of warming up, and those that count."""
    return (0, QUICK_SECONDS) if bench.quick else (WARM_SECONDS, SECONDS)


def events_of(bench: Bench) -> list[Sample]:
    """Those of the warm-up, and those that count."""
    return list(people_only(sum(lasting(bench)) * RATE))


def people_only(count: int) -> Iterator[Sample]:
    """Events of 500 customers in turn."""
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
            await opened.enter_async_context(waking(core))
            watch = Watch(core.pool, "timeline", OWN)
            return await measured(
                bench, "contacts' timeline", watch, _appending(_log_append(core), watch)
            )

    yield kith, lambda: _bare(bench, bare_latency.own, "timeline", OWN)


async def _bare(
    bench: Bench,
    opened: Callable[[Bench, str], AbstractAsyncContextManager[tuple[asyncpg.Pool, Bare]]],
    model: str,
    count: str,
) -> Run:
    async with opened(bench, model) as (pool, bare):
        bare.prepare(events_of(bench), at_once=BATCH)
        watch = Watch(pool, model, count)
        send = _appending(bare.append, watch)
        return await measured(bench, "bare drivers", watch, send, kind="ceiling")


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
                watch = Watch(analytics.core.pool, "score.engagement", SCORED)
                if not by_http:
                    await stack.enter_async_context(waking(core))
                    await mint(core.pool, {one.customer_id for one in people_only(PEOPLE)})
                    return await measured(
                        bench, "analytics' score", watch, _appending(_log_append(core), watch)
                    )
                client = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
                key = new_write_key()
                await keep_key(core.pool, key, name="bench", scopes=[COLLECT])
                send = _posting(client, processes["api"].url, key, watch)
                # Whoever is new is registered: known users are what is measured.
                for one in people_only(PEOPLE):
                    await send([one._replace(number=-one.number - 1)], time.perf_counter())
                await watch.all_seen(PEOPLE)
                watch.forget()
                return await measured(
                    bench, "collector to score", watch, send, at_once=HTTP_BATCH, before=PEOPLE
                )

        if by_http:
            yield (kith,)
        else:
            yield kith, lambda: _bare(bench, bare_latency.other, "score.engagement", SCORED)

    return opened


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


ROWS = (
    Row(
        "latency.own",
        does="commit to own read model, 1,000 events/s",
        contestants=own,
        bars=(at_most(50, "ms", figure="p99_ms"),),
        figure="p99_ms",
        unit="ms",
        keys="500 customers",
        promises={
            "contacts' timeline": "durable; exactly once in the read model",
            "bare drivers": "the same steps in one process, sealed beforehand; nothing opened",
        },
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
        promises={
            "analytics' score": "durable; exactly once in the other service's score, in order",
            "bare drivers": "the same steps in one process; counted, not scored; no headers, "
            "no marks, no lease: a crash loses or doubles",
        },
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
        promises={
            "collector to score": "durable at the answer, once by message id; scored exactly once"
        },
        runs=2,
    ),
)
