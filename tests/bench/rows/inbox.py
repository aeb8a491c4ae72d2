"""Kafka to log: records a second by one member, beside the bare statement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid5

import asyncpg
from analytics.bootstrap import HEARS
from crm_chassis.inbox.loop import Inbox
from crm_chassis.inbox.taking import TAKE
from crm_events.topics import PURCHASES

from tests.bench.bench import Bench
from tests.bench.product import FACTS, analytics_on, contacts_on
from tests.bench.row import Contestant, Row, Run, at_least, of_ceiling
from tests.bench.rows.relay import fill_own, relay_of
from tests.bench.topics import drop_topics

EVENTS = 200_000
QUICK_EVENTS = 10_000
BATCH = 2_000
LOOK_EVERY_S = 0.02
LONGEST_S = 300
TAKEN = "select coalesce(sum(sequence), 0)::int from inbox_mark"
UNIQUE_KEYS = "update log l set partition_key = gen_random_uuid()"
PLACE = "insert into inbox_mark values ($1, 0, 0, null, -1, 0)"


def contestants(unique: bool) -> Callable[[Bench], AsyncIterator[Sequence[Contestant]]]:  # noqa: FBT001
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = bench.size(EVENTS, quick=QUICK_EVENTS)
        await drop_topics(bench.kafka)
        async with contacts_on(bench) as placed:
            await fill_own(placed.core.pool, events)
            if unique:
                async with placed.core.pool.acquire() as connection:
                    await connection.execute("set transaction_timeout = 0")
                    await connection.execute("set statement_timeout = 0")
                    await connection.execute(UNIQUE_KEYS, timeout=120)
                    await connection.execute("reset transaction_timeout; reset statement_timeout")
            relay = relay_of(bench, placed.core.pool)
            while await relay.turn():
                pass
            await relay.close()

        async def kith() -> Run:
            async with analytics_on(bench) as placed:
                pool, stop = placed.core.pool, asyncio.Event()
                inbox = Inbox(
                    pool=pool,
                    bootstrap=bench.kafka,
                    service=f"bench-{time.monotonic_ns()}",
                    topics=list(HEARS),
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
                kept = await pool.fetchval("select count(*) from log")
            return timed.run("kith", "Inbox", events=events - first, correct=kept == events)

        async def bare() -> Run:
            async with analytics_on(bench) as placed:
                connection = await asyncpg.connect(placed.url)
                await connection.execute(PLACE, PURCHASES.name)
                batches = [batch(first) for first in range(1, events + 1, BATCH)]
                async with bench.timed() as timed:
                    for arguments in batches:
                        await connection.execute(TAKE, *arguments)
                kept = await connection.fetchval("select count(*) from log")
                await connection.close()
            return timed.run("ceiling", "bare statement", events=events, correct=kept == events)

        yield kith, bare

    return opened


async def until(pool: asyncpg.Pool, count: int) -> None:
    async with asyncio.timeout(LONGEST_S):
        while await pool.fetchval(TAKEN) < count:
            await asyncio.sleep(LOOK_EVERY_S)


def batch(first: int) -> tuple[object, ...]:
    """The arguments of the statement that takes 2,000 records, made beforehand."""
    numbers = range(first, first + BATCH)
    ids = [str(uuid5(FACTS, str(number))) for number in numbers]
    before = str(uuid5(FACTS, str(first - 1))) if first > 1 else None
    last = numbers[-1]
    data = (
        '{"customer_id":"x","message_id":"m","source":"bench","order_id":"o","total":'
        '{"amount":"12.50","currency":"EUR"},"products":[],"sealed":{"k":"' + "b" * 110 + '"}}'
    )
    each = "{" + ",".join(["1"] * BATCH) + "}"
    at = "{" + ",".join(["2026-01-01T00:00:00Z"] * BATCH) + "}"
    joined = ",".join(ids)
    return (
        [PURCHASES.name], [0], [first - 1], [before], [last], [ids[-1]], [last],
        [], [], [], [], [], [], [], [], [],
        [PURCHASES.name], ["contacts.purchase.completed"], each, each,
        "{" + ",".join(["0"] * BATCH) + "}", "{" + ",".join(map(str, numbers)) + "}",
        joined, joined, each, each, joined, at, at, [data] * BATCH, [None] * BATCH,
    )  # fmt: skip


ROWS = tuple(
    Row(
        name,
        does=f"Kafka to log, one member, {keys}",
        contestants=contestants(unique),
        bars=(*bars, of_ceiling(0.68)),
        unit="records/s",
        reference="one bare statement with all indexes 88k to 90k",
        keys=keys,
        promises={
            "Inbox": "each number once and in order, gaps held, values checked",
            "bare statement": "the same statement, its arguments made beforehand",
        },
    )
    for name, unique, keys, bars in (
        ("inbox", False, "Zipf", (at_least(60_000, "records/s"),)),
        ("inbox.unique", True, "every event its own customer", ()),
    )
)
