"""A read model folded from the start of a log of 1 M events, while others are read.

Scoring models share tables, so one is built anew as another model: the worker folds it from the
start of the log beside those that serve.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
from analytics.engagement.model import load_model
from crm_chassis.apikeys import keep_key, new_api_key
from crm_events.contacts import OrderCompleted
from crm_events.topics import CONTRACT
from crm_projections.checkpoints import standing_at
from crm_store.log.position import Position
from crm_store.log.tail import head

from demo.running import Service
from tests.bench.asking import Asking
from tests.bench.bench import Bench
from tests.bench.calling import Caller, caller_of
from tests.bench.heard import as_expected
from tests.bench.load import latency, open_loop
from tests.bench.processes import running, service
from tests.bench.product import Analytics
from tests.bench.row import Bar, Contestant, Row, Run, at_most
from tests.bench.rows.fold import must_have
from tests.bench.rows.growth import analytics_of
from tests.bench.topics import drop_topics

EVENTS = 1_000_000
READS_A_SECOND, SERVED_A_SECOND = 20, 50
SECONDS = 20
STAYS = 1.25
"""What counts as unchanged: the most that reads may take, as a multiple of those at rest."""
LONGEST_S = 600
LOOK_EVERY_S = 0.05
PURCHASES = f"select count(*) from log where type = '{OrderCompleted.type}'"  # noqa: S608
SQL_SUMS = """
create temp table summed on commit drop as
select partition_key, sum(exp(extract(epoch from occurred_at - '2026-01-01Z'::timestamptz) / 3.7e6))
    as s, count(*) as counted
from log where type = 'contacts.purchase.completed' group by partition_key
"""
_rounds = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Served:
    """analytics with a long log, and a caller of its API, which runs as a process."""

    bench: Bench
    placed: Analytics
    caller: Caller
    first: Path  # the model that scored everything already

    def worker(self, *models: Path) -> Service:
        told = ",".join(map(str, (self.first, *models)))
        return service(self.bench, "analytics", self.placed.url, role="worker", MODELS=told)

    async def read(self) -> bool:
        return bool(await self.caller.get("/leaders?limit=50"))

    async def built(self, rate: int) -> Run:
        """A new model folded from the start of the log, while so many a second are read."""
        pool = self.placed.core.pool
        events, end = await pool.fetchval(PURCHASES), await head(pool)
        path = a_new_model(self.bench.folder)
        model, worker = load_model(path, CONTRACT), self.worker(path)
        level, took = asyncio.Event(), []

        async def send(_: int, due: float) -> None:
            await self.read()
            took.append(time.perf_counter() - due)

        async with AsyncExitStack() as opened:
            async with self.bench.timed() as timed:
                reading = asyncio.create_task(
                    open_loop(send, rate=rate, seconds=LONGEST_S, until=level)
                )
                await opened.enter_async_context(running(self.bench, worker=worker))
                await folded(pool, model.projection, end)
            level.set()
            late = await reading
        scores = await must_have(self.placed.url, model)
        return timed.run(
            "kith",
            "a new scoring model",
            events=events,
            latency=latency(took, late),
            correct=await as_expected(pool, model, scores),
            settings={"reads/s meanwhile": rate, "start of the process": "included"},
        )

    async def at_rest(self, asking: Asking) -> Run:
        """The same reads beside a worker that has nothing to fold."""

        async def read(_: int) -> bool:
            return await self.read()

        async with running(self.bench, worker=self.worker()):
            return await asking.run(self.bench, "kith", "nothing is built", read)

    async def summed(self) -> Run:
        events = await self.placed.core.pool.fetchval(PURCHASES)
        connection = await asyncpg.connect(self.placed.url)
        async with self.bench.timed() as timed, connection.transaction():
            await connection.execute(SQL_SUMS)
        await connection.close()
        return timed.run("ceiling", "one statement of SQL that sums and counts", events=events)


@asynccontextmanager
async def served(bench: Bench) -> AsyncIterator[Served]:
    await drop_topics(bench.kafka)  # what other rows sent is nothing to hear here
    placed = await analytics_of(bench, bench.size(EVENTS, quick=10_000))
    key = new_api_key()
    await keep_key(placed.core.pool, key, name="bench", scopes=["scores:read"])
    api = service(bench, "analytics", placed.url, role="api")
    first = bench.folder / "engagement.json"
    first.write_text(definition())
    async with running(bench, api=api), caller_of(api.url, key) as caller:
        yield Served(bench, placed, caller, first)


@asynccontextmanager
async def building(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async with served(bench) as one:
        yield partial(one.built, READS_A_SECOND), one.summed


@asynccontextmanager
async def reading(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    asking = Asking(SERVED_A_SECOND, bench.size(SECONDS, quick=3))
    async with served(bench) as one:
        yield partial(one.at_rest, asking), partial(one.built, SERVED_A_SECOND)


def definition() -> str:
    """The model that comes with analytics."""
    return load_model(None, CONTRACT).definition


def a_new_model(folder: Path) -> Path:
    """The same under a name that never scored here."""
    name = f"rebuilt-{next(_rounds)}"
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**json.loads(definition()), "name": name, "version": 1}))
    return path


async def folded(pool: asyncpg.Pool, projection: str, end: Position) -> None:
    """Wait until the read model has come so far."""
    async with asyncio.timeout(LONGEST_S):
        while await standing_at(pool, projection, 1) < end:
            await asyncio.sleep(LOOK_EVERY_S)


ROWS = (
    Row(
        "rebuild",
        does="a new scoring model folded from the start of 1 M events, leaders read meanwhile",
        contestants=building,
        bars=(
            at_most(20, "s", figure="seconds"),
            at_most(256, "MB", figure="rss_mb.worker"),
        ),
        figure="seconds",
        unit="s",
        keys="Zipf",
        promises={
            "a new scoring model": "exactly once, the log goes on, reads never stop",
            "one statement": "sums alone, in one transaction that holds every tail; not kept",
        },
        runs=1,
    ),
    Row(
        "rebuild.served",
        does="leaders read 50 times a second, open loop, while a new model is folded from the "
        "start of 1 M events, and while nothing is",
        contestants=reading,
        bars=(
            Bar(
                STAYS,
                "times that of reads while nothing is built",
                "p99_ms",
                "less",
                over="first",
                judges="last",
            ),
        ),
        figure="p99_ms",
        unit="ms at p99",
        keys="Zipf",
        promises={
            "nothing is built": "says how fresh it is",
            "a new scoring model": "says how fresh it is; the log goes on, reads never stop",
        },
        no_ceiling="it is held against the same reads beside a worker at rest",
        runs=2,
    ),
)
