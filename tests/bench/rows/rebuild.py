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
from importlib import resources
from pathlib import Path

import asyncpg
from analytics.engagement.model import load_model
from crm_chassis.apikeys import keep_key, new_api_key
from crm_chassis.log.position import Position
from crm_chassis.log.tail import head
from crm_chassis.projection.checkpoints import standing_at
from crm_events.contacts import OrderCompleted
from crm_events.topics import CONTRACT

from tests.bench.bench import Bench
from tests.bench.load import latency, open_loop
from tests.bench.processes import running, service
from tests.bench.row import Contestant, Row, Run, at_most
from tests.bench.rows.customer_file import client_of
from tests.bench.rows.growth import analytics_of
from tests.bench.topics import drop_topics

EVENTS = 1_000_000
READS_A_SECOND = 20
LONGEST_S = 600
LOOK_EVERY_S = 0.05
PURCHASES = f"select count(*) from log where type = '{OrderCompleted.type}'"  # noqa: S608
SUMMED = "select coalesce(sum(counted), 0)::int from engagement where model_id = $1"
SQL_SUMS = """
create temp table summed on commit drop as
select partition_key, sum(exp(extract(epoch from occurred_at - '2026-01-01Z'::timestamptz) / 3.7e6))
    as s, count(*) as counted
from log where type = 'contacts.purchase.completed' group by partition_key
"""
_rounds = itertools.count(1)


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    await drop_topics(bench.kafka)  # what other rows sent is nothing to hear here
    placed = await analytics_of(bench, bench.size(EVENTS, quick=10_000))
    pool = placed.core.pool
    key = new_api_key()
    await keep_key(pool, key, name="bench", scopes=["scores:read"])
    api = service(bench, "analytics", placed.url, role="api")

    async def kith() -> Run:
        events, end = await pool.fetchval(PURCHASES), await head(pool)
        model = a_new_model(bench.folder)
        worker = service(bench, "analytics", placed.url, role="worker", MODELS=f"{first},{model}")
        level, took = asyncio.Event(), []
        loaded = load_model(model, CONTRACT)

        async def send(_: int, due: float) -> None:
            answer = await client.get("/leaders?limit=50")
            answer.raise_for_status()
            took.append(time.perf_counter() - due)

        async with AsyncExitStack() as opened:
            async with bench.timed() as timed:
                reading = asyncio.create_task(
                    open_loop(send, rate=READS_A_SECOND, seconds=LONGEST_S, until=level)
                )
                await opened.enter_async_context(running(bench, worker=worker))
                await folded(pool, loaded.projection, end)
            level.set()
            late = await reading
        return timed.run(
            "kith",
            "a new scoring model",
            events=events,
            latency=latency(took, late),
            correct=await pool.fetchval(SUMMED, loaded.model_id) == events,
            settings={"reads/s meanwhile": READS_A_SECOND, "start of the process": "included"},
        )

    async def ceiling() -> Run:
        events = await pool.fetchval(PURCHASES)
        connection = await asyncpg.connect(placed.url)
        async with bench.timed() as timed, connection.transaction():
            await connection.execute(SQL_SUMS)
        await connection.close()
        return timed.run("ceiling", "one statement of SQL that sums and counts", events=events)

    first = bench.folder / "engagement.json"
    first.write_text(definition())
    async with running(bench, api=api), client_of(api.url, key) as client:
        yield kith, ceiling


def definition() -> str:
    """The model that comes with analytics."""
    return resources.files("analytics.engagement.models").joinpath("engagement.v1.json").read_text()


def a_new_model(folder: Path) -> Path:
    """The same under a name that never scored here."""
    name = f"rebuilt-{next(_rounds)}"
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**json.loads(definition()), "name": name}))
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
        contestants=contestants,
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
)
