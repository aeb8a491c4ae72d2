"""Kafka to log to score in one process, exactly once, every event kept; also over a kill -9."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from uuid import UUID

import asyncpg
from analytics.engagement.model import ScoringModel, load_model
from crm_events.topics import CONTRACT
from crm_projections.checkpoints import standing_at
from crm_store.log.position import START, Position
from crm_store.log.tail import head

from demo.running import Service
from tests.bench.bench import Bench
from tests.bench.heard import Score, as_expected
from tests.bench.load import Keys
from tests.bench.processes import service
from tests.bench.product import analytics_on, contacts_on
from tests.bench.row import (
    KILL_AFTER,
    Contestant,
    Contestants,
    Kind,
    Row,
    Run,
    at_least,
    times_peer,
)
from tests.bench.rows.fold import must_have
from tests.bench.rows.relay import fill_own, relay_of
from tests.bench.scores_only import APPLICATION_NAME
from tests.bench.topics import drop_topics

EVENTS = 500_000
UNIQUE_EVENTS = 200_000
QUICK_EVENTS = 30_000
LOOK_EVERY_S = 0.05
LONGEST_S = 300
TAKEN = "select coalesce(sum(sequence), 0)::int from inbox_mark"
CONNECTED = "select count(*) from pg_stat_activity where application_name = $1"
WHO = "inbox and projector"
BARE = "bare consumer, its statement, plain loop"
_rounds = itertools.count(1)


def contestants(keys: Keys, *, killed: bool) -> Contestants:
    """Kith beside the bare drivers; `killed`: once more with a kill -9 in the middle."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        full = EVENTS if keys == "Zipf" else UNIQUE_EVENTS
        events = bench.size(full, quick=QUICK_EVENTS)
        scores = await publish(bench, events, keys, load_model(None, CONTRACT))
        contestant = partial(_contestant, bench, events, scores)
        found = [
            contestant(kind="kith", who=WHO, placing=scores_only, killed=False),
            contestant(kind="ceiling", who=BARE, placing=bare_whole, killed=False),
        ]
        if killed:
            who = f"{WHO}, kill -9 in the middle"
            found.append(contestant(kind="kith", who=who, placing=scores_only, killed=True))
        yield found

    return opened


async def publish(bench: Bench, events: int, keys: Keys, model: ScoringModel) -> dict[UUID, Score]:
    """So many purchases sent by contacts' relay; what must come of them."""
    await drop_topics(bench.kafka)
    async with contacts_on(bench) as placed:
        await fill_own(placed.core.pool, events, keys)
        relay = relay_of(bench, placed.core.pool)
        try:
            while await relay.turn():
                pass
        finally:
            await relay.close()
        return await must_have(placed.url, model)


def _contestant(
    bench: Bench,
    events: int,
    scores: Mapping[UUID, Score],
    *,
    kind: Kind,
    who: str,
    placing: Callable[[Bench, str], Service],
    killed: bool,
) -> Contestant:
    async def run() -> Run:
        async with analytics_on(bench) as placed:
            pool, model = placed.core.pool, placed.core.models[0]
            process = placing(bench, placed.url).start()
            figures: dict[str, float] = {}
            try:
                if killed:
                    await has_taken(pool, int(events * KILL_AFTER))
                    killed_at = time.perf_counter()
                    process.process.kill()
                    process.process.wait()
                    await has_left(pool)
                    stood = await standing_at(pool, model.projection, model.version)
                    process.start()
                    await has_folded(pool, model, beyond=stood)
                    figures["back_s"] = time.perf_counter() - killed_at
                await has_folded(pool, model, beyond=START)
                first = await pool.fetchval(TAKEN)  # what is in the log already is no work any more
                with bench.watch(engine=process.process.pid):
                    async with bench.timed() as timed:
                        await has_taken(pool, events)
                        await has_folded(pool, model, to=await head(pool))
            finally:
                await asyncio.to_thread(process.stop)
            kept = await pool.fetchval("select count(*) from log")
            right = kept == events and await as_expected(pool, model, scores)
        return timed.run(
            kind,
            who,
            events=events - first,
            correct=right,
            figures=figures,
            settings={"customers": len(scores), "the clock begins": "at the first score"},
        )

    return run


def scores_only(bench: Bench, database: str) -> Service:
    """`tests.bench.scores_only` as a process; its role is the group, of its own in each run."""
    worker = service(bench, "analytics", database, role="scores")
    return replace(worker, name="tests.bench.scores_only", role=f"whole-{next(_rounds)}")


def bare_whole(bench: Bench, database: str) -> Service:
    """`tests.bench.bare_whole` as a process, told what analytics' worker is told."""
    worker = service(bench, "analytics", database, role="bare")
    return replace(worker, name="tests.bench.bare_whole")


async def has_left(pool: asyncpg.Pool) -> None:
    """Wait until PostgreSQL has finished what a killed process had asked for."""
    async with asyncio.timeout(LONGEST_S):
        while await pool.fetchval(CONNECTED, APPLICATION_NAME):
            await asyncio.sleep(0.01)


async def has_taken(pool: asyncpg.Pool, count: int) -> None:
    """Wait until the log holds so many records."""
    async with asyncio.timeout(LONGEST_S):
        while await pool.fetchval(TAKEN) < count:
            await asyncio.sleep(LOOK_EVERY_S)


async def has_folded(
    pool: asyncpg.Pool,
    model: ScoringModel,
    *,
    beyond: Position | None = None,
    to: Position = START,
) -> None:
    """Wait until the score stands beyond a position, or at one."""
    async with asyncio.timeout(LONGEST_S):
        while True:
            at = await standing_at(pool, model.projection, model.version)
            if at >= to and (beyond is None or at > beyond):
                return
            await asyncio.sleep(LOOK_EVERY_S)


PROMISES = {
    WHO: "exactly once, in order, every event in the log",
    BARE: "the same statements; numbers taken as they come, headers by their place, nothing "
    "checked, one topic, no group, no lease: after a crash it begins anew",
}
ROWS = (
    Row(
        "whole",
        does="Kafka to log to score in one process, every event kept",
        contestants=contestants("Zipf", killed=True),
        bars=(
            at_least(50_000, "events/s"),
            times_peer(1.0, "Quix exactly-once"),
            times_peer(1.0, "Bytewax, every state out"),
        ),
        reference="Quix exactly-once 47k to 54k, Bytewax 51k, Faust 5k",
        keys="Zipf",
        promises=PROMISES,
    ),
    Row(
        "whole.unique",
        does="the same, every event its own customer",
        contestants=contestants("unique", killed=False),
        keys="every event its own customer",
        promises=PROMISES,
    ),
)
