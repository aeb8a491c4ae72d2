"""Kafka to log to score in one process, exactly once, every event kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from analytics.bootstrap import HEARS
from crm_chassis.inbox.loop import Inbox

from tests.bench.bench import Bench
from tests.bench.product import analytics_on, contacts_on
from tests.bench.row import Contestant, Row, Run, at_least
from tests.bench.rows.fold import COUNTED, projector
from tests.bench.rows.relay import fill_own, relay_of
from tests.bench.topics import drop_topics

EVENTS = 500_000
QUICK_EVENTS = 10_000
LOOK_EVERY_S = 0.02
LONGEST_S = 300
FOLDED = "select coalesce(sum(counted), 0)::int from engagement"


async def publish(bench: Bench, events: int) -> None:
    """That many purchases of 50,000 customers in contacts' topic, sent by its relay."""
    await drop_topics(bench.kafka)
    async with contacts_on(bench) as placed:
        await fill_own(placed.core.pool, events)
        relay = relay_of(bench, placed.core.pool)
        try:
            while await relay.turn():
                pass
        finally:
            await relay.close()


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    events = bench.size(EVENTS, quick=QUICK_EVENTS)
    await publish(bench, events)

    async def kith() -> Run:
        async with analytics_on(bench) as placed:
            core = placed.core
            stop = asyncio.Event()
            inbox = Inbox(
                pool=core.pool,
                bootstrap=bench.kafka,
                service=f"bench-{id(core)}",  # a group of its own
                topics=list(HEARS),
                instance="1",
                wake=core.wakeups.signal,
            )
            folding = projector(core, core.scores)
            async with bench.timed() as timed, asyncio.TaskGroup() as work:
                work.create_task(inbox.run(stop, beat=lambda: None))
                work.create_task(folding.run(stop, beat=lambda: None))
                work.create_task(_until_folded(core.pool, events, stop))
            counted, customers = await core.pool.fetchrow(COUNTED)
            kept = await core.pool.fetchval("select count(*) from log")
        return timed.run(
            "kith",
            "inbox and projector",
            events=events,
            correct=counted == kept == events,
            settings={"customers": customers, "joining the group": "included"},
        )

    yield (kith,)


async def _until_folded(pool: asyncpg.Pool, events: int, stop: asyncio.Event) -> None:
    async with asyncio.timeout(LONGEST_S):
        while await pool.fetchval(FOLDED) < events:
            await asyncio.sleep(LOOK_EVERY_S)
    stop.set()


ROWS = (
    Row(
        "whole",
        does="Kafka to log to score in one process, every event kept",
        contestants=contestants,
        bars=(at_least(50_000, "events/s"),),
        reference="Quix exactly-once 47k to 54k, Bytewax 51k, Faust 5k",
        keys="Zipf",
        promises={"inbox and projector": "exactly once, in order, every event in the log"},
    ),
)
