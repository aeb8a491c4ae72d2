"""Kafka to log: records a second by one member, beside the bare statement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from crm_events.topics import HEARD_BY, PURCHASES
from crm_kafka.inbox.consumer import FETCH_MAX_WAIT_MS, PARTITION_FETCH_BYTES
from crm_kafka.inbox.loop import Inbox
from crm_kafka.inbox.pace import MOST
from crm_kafka.inbox.taking import TAKE

from tests.bench.bare_inbox import AT_ONCE, POLL_MS, arguments, consumer_of, place
from tests.bench.bench import Bench
from tests.bench.copies import heard, owed
from tests.bench.load import Keys
from tests.bench.product import analytics_on, contacts_on
from tests.bench.row import Contestant, Contestants, Row, Run, at_least, of_ceiling
from tests.bench.rows.relay import fill_own, relay_of
from tests.bench.topics import drop_topics

EVENTS = 200_000
QUICK_EVENTS = 10_000
LOOK_EVERY_S = 0.02
LONGEST_S = 300
TAKEN = "select coalesce(sum(sequence), 0)::int from inbox_mark"


def contestants(keys: Keys) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = bench.size(EVENTS, quick=QUICK_EVENTS)
        await drop_topics(bench.kafka)
        async with contacts_on(bench) as placed:
            await fill_own(placed.core.pool, events, keys)
            relay = relay_of(bench, placed.core.pool)
            while await relay.turn():
                pass
            await relay.close()
            sent = await owed(placed.url, PURCHASES)

        async def kith() -> Run:
            async with analytics_on(bench) as placed:
                pool, stop = placed.core.pool, asyncio.Event()
                inbox = Inbox(
                    pool=pool,
                    bootstrap=bench.kafka,
                    service=f"bench-{time.monotonic_ns()}",
                    topics=[topic.name for topic in HEARD_BY["analytics"]],
                    instance="1",
                    wake=lambda: None,
                )
                reading = asyncio.create_task(inbox.run(stop, beat=lambda: None))
                await until(pool, 1)
                first: int = await pool.fetchval(TAKEN)
                async with bench.timed() as timed:
                    await until(pool, events)
                stop.set()
                await reading
                correct = await heard(placed.url, PURCHASES) == sent
            return timed.run(
                "kith",
                "Inbox",
                events=events - first,
                correct=correct,
                settings={
                    "partitions": PURCHASES.partitions,
                    "members": 1,
                    "records a statement at most": MOST,
                    "fetch waits ms at most": FETCH_MAX_WAIT_MS,
                    "bytes a partition's fetch": PARTITION_FETCH_BYTES,
                    "the clock begins": "at the first records taken",
                },
            )

        async def bare() -> Run:
            async with analytics_on(bench) as placed:
                connection = await asyncpg.connect(placed.url)
                statements = await prepared(bench, connection, events)
                async with bench.timed() as timed:
                    for each in statements:
                        await connection.execute(TAKE, *each)
                await connection.close()
                correct = await heard(placed.url, PURCHASES) == sent
            return timed.run(
                "ceiling",
                "bare statement",
                events=events,
                correct=correct,
                settings={"partitions": PURCHASES.partitions, "records a statement": AT_ONCE},
            )

        yield kith, bare

    return opened


async def prepared(
    bench: Bench, connection: asyncpg.Connection, events: int
) -> list[tuple[Any, ...]]:
    """Every record of the topic as arguments of the statement that takes it."""
    marks, made, left = await place(connection), [], events
    consumer = await consumer_of(bench.kafka)
    try:
        async with asyncio.timeout(LONGEST_S):
            while left > 0:
                polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
                if polled:
                    made.append(arguments(polled, marks))
                    left -= sum(map(len, polled.values()))
    finally:
        await consumer.stop()
    return made


async def until(pool: asyncpg.Pool, count: int) -> None:
    async with asyncio.timeout(LONGEST_S):
        while await pool.fetchval(TAKEN) < count:
            await asyncio.sleep(LOOK_EVERY_S)


ROWS = tuple(
    Row(
        name,
        does=f"Kafka to log, one member, {said}",
        contestants=contestants(keys),
        bars=(*bars, of_ceiling(0.68)),
        unit="records/s",
        reference="one bare statement with all indexes 88k to 90k",
        keys=said,
        promises={
            "Inbox": "each number once and in order, gaps held, values checked",
            "bare statement": "the same statement, its arguments made beforehand",
        },
    )
    for name, keys, said, bars in (
        ("inbox", "Zipf", "Zipf", (at_least(60_000, "records/s"),)),
        ("inbox.unique", "unique", "every event its own customer", ()),
    )
)
