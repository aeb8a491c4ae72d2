"""How long until an engine's state that counts an event is seen, at 1,000 events a second."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.bench.bench import Bench
from tests.bench.load import Sample, latency, open_loop, totals
from tests.bench.peers.engine import Engine, Placed, Running
from tests.bench.peers.tables import create, last_states, places_of, record, topics
from tests.bench.row import Contestant, Contestants, Run
from tests.bench.rows.latency import PEOPLE, people_only
from tests.bench.watching import BATCH, RATE, lasting

SEEN_WITHIN_S = 60.0
LOOK_EVERY_S = 0.05
_rounds = itertools.count(1)


def contestants(engines: Sequence[Engine]) -> Contestants:
    """Each beside Kith's way from a commit to another service's read model."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        commands = [(engine, engine.command()) for engine in engines]
        yield [_contestant(bench, engine, command) for engine, command in commands if command]

    return opened


def _contestant(bench: Bench, engine: Engine, command: list[str]) -> Contestant:
    async def run() -> Run:
        topic = f"peers.live-{next(_rounds)}"
        await create(bench.kafka, topic)
        placed = await Placed.on(bench, engine, command, topic)
        if engine.out:
            await create(bench.kafka, placed.table, compact=True)
        running = placed.start()
        try:
            return await _measured(bench, placed, running)
        finally:
            running.kill()

    return run


async def _measured(bench: Bench, placed: Placed, running: Running) -> Run:
    warm, seconds = lasting(bench)
    first = list(people_only(PEOPLE))
    events = list(people_only((warm + seconds) * RATE))
    nth = occurrences(one.customer_id for one in (*first, *events))[PEOPLE:]
    acknowledged: dict[tuple[UUID, int], float] = {}
    watch = Watch()
    async with _producer(bench) as producer:

        async def send(batch: Sequence[Sample]) -> None:
            sent = [await producer.send(placed.topic, **record(one)) for one in batch]
            await asyncio.gather(*sent)

        async def begin(n: int, _: float) -> None:
            chosen = slice(n * BATCH, (n + 1) * BATCH)
            await send(events[chosen])
            now = time.perf_counter()
            acknowledged.update(dict.fromkeys(nth[chosen], now))

        await send(first)  # it makes its table when it has something to keep
        await _has_table(bench, placed, running)
        async with watch.reading(bench.kafka, placed):
            await watch.all_seen(len(first), running)
            with bench.watch(engine=running.process.pid):
                async with bench.timed() as timed:
                    began = time.perf_counter()
                    late = await open_loop(begin, rate=RATE / BATCH, seconds=warm + seconds)
                    await watch.all_seen(len(first) + len(events), running)
    took = [
        max(0.0, watch.seen[customer_id][n - 1] - since)
        for (customer_id, n), since in acknowledged.items()
        if since >= began + warm
    ]
    return timed.run(
        "peer",
        placed.engine.name,
        events=len(took),
        latency=latency(took, late),
        correct=await last_states(bench.kafka, placed) == totals([*first, *events]),
        settings={
            "events/s": RATE,
            "a call": BATCH,
            "from": "the broker's answer",
            "to": "a reader of what is committed",
            **placed.engine.settings,
        },
    )


def occurrences(customers: Iterable[UUID]) -> list[tuple[UUID, int]]:
    """Of each: whose it is, and which of that customer's it is, from 1."""
    counted: dict[UUID, int] = defaultdict(int)
    told: list[tuple[UUID, int]] = []
    for customer_id in customers:
        counted[customer_id] += 1
        told.append((customer_id, counted[customer_id]))
    return told


class Watch:
    """When a customer's state was first seen to count so many events: `seen[customer][n - 1]`."""

    def __init__(self) -> None:
        self.seen: dict[UUID, list[float]] = defaultdict(list)

    def saw(self, customer_id: UUID, count: int, at: float) -> None:
        """A state may count several more than the one before, and an old one may come again."""
        times = self.seen[customer_id]
        times.extend([at] * (count - len(times)))

    @asynccontextmanager
    async def reading(self, kafka: str, placed: Placed) -> AsyncIterator[None]:
        """Meanwhile, the engine's table is read as far as it is committed."""
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed")
        await consumer.start()
        try:
            consumer.assign(places_of(placed.table))
            await consumer.seek_to_beginning()
            looking = asyncio.create_task(self._read(consumer, placed.engine))
            try:
                yield
            finally:
                looking.cancel()
                await asyncio.wait([looking])
        finally:
            await consumer.stop()

    async def all_seen(self, count: int, running: Running) -> None:
        async with asyncio.timeout(SEEN_WITHIN_S):
            while sum(map(len, self.seen.values())) < count:
                running.check()
                await asyncio.sleep(LOOK_EVERY_S)

    async def _read(self, consumer: AIOKafkaConsumer, engine: Engine) -> None:
        while True:
            found = await consumer.getmany(timeout_ms=1_000)
            now = time.perf_counter()
            for one in itertools.chain.from_iterable(found.values()):
                told = one.value and engine.decode(one.key, one.value)
                if told:
                    self.saw(told[0], told[1].count, now)


@asynccontextmanager
async def _producer(bench: Bench) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _has_table(bench: Bench, placed: Placed, running: Running) -> None:
    async with asyncio.timeout(SEEN_WITHIN_S):
        while placed.table not in await topics(bench.kafka):
            running.check()
            await asyncio.sleep(LOOK_EVERY_S)
