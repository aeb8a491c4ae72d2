"""How much memory a worker and the whole demo take."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from tests.bench.bench import Bench
from tests.bench.load import samples
from tests.bench.processes import running, service
from tests.bench.product import contacts_on, mint, order
from tests.bench.row import Contestant, Row, Run, at_most
from tests.bench.topics import drop_topics

EVENTS = 300_000
BATCH = 500
LONGEST_S = 600
LOOK_EVERY_S = 0.2
DEMO_SAYS = re.compile(r"([\d,]+) MB in all")
OWED = """
select exists (select from log l, relay_position p
               where p.name = 'main' and (l.epoch, l.xid, l.gp) > (p.epoch, p.xid, p.gp)
                 and l.topic is not null)
    or (select count(*) < 3 or bool_or((c.epoch, c.xid, c.gp) < (h.epoch, h.xid, h.gp))
        from projection_checkpoint c,
             (select epoch, xid, gp from log order by epoch desc, xid desc, gp desc limit 1) h)
"""


@asynccontextmanager
async def working(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    events = bench.size(EVENTS, quick=5_000)

    async def worker() -> Run:
        await drop_topics(bench.kafka)
        async with contacts_on(bench) as placed, AsyncExitStack() as opened:
            pool = placed.core.pool
            chosen = list(samples(events))
            await mint(pool, (one.customer_id for one in chosen))
            for first in range(0, events, BATCH):
                await placed.core.log.append(
                    facts=[order(n) for n in chosen[first : first + BATCH]]
                )
            del chosen
            one = service(bench, "contacts", placed.url, role="worker")
            async with bench.timed() as timed:
                await opened.enter_async_context(running(bench, worker=one))
                await settled(pool)
            entered = await pool.fetchval("select count(*) from timeline_entry")
        return timed.run("kith", "contacts worker", events=events, correct=entered == events)

    yield (worker,)


async def settled(pool: asyncpg.Pool) -> None:
    """Wait until all is sent and folded."""
    async with asyncio.timeout(LONGEST_S):
        while await pool.fetchval(OWED):
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def showing(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def demo() -> Run:
        async with bench.timed() as timed:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "demo", "--check"), stdout=asyncio.subprocess.PIPE
            )
            told, _ = await asyncio.wait_for(process.communicate(), LONGEST_S)
        said = DEMO_SAYS.search(told.decode())
        assert said is not None, told.decode()[-500:]
        return timed.run(
            "kith",
            "make demo CHECK=1",
            events=0,
            correct=process.returncode == 0,
            figures={"all_mb": float(said[1].replace(",", ""))},
            settings={"counted": "shared pages once, by the demo itself"},
        )

    yield (demo,)


ROWS = (
    Row(
        "memory.worker",
        does="a worker of contacts that sends and folds a backlog; peak resident memory",
        contestants=working,
        bars=(at_most(256, "MB", figure="rss_mb.worker"),),
        figure="rss_mb.worker",
        unit="MB",
        keys="Zipf",
        promises={"contacts worker": "as in production: in order, exactly once"},
        no_ceiling="the bar is absolute; what bare drivers hold bounds nothing that a worker keeps",
        runs=1,
    ),
    Row(
        "memory.demo",
        does="the demo: both services, PostgreSQL and Kafka, all that they take",
        contestants=showing,
        bars=(at_most(1_536, "MB", figure="all_mb"),),
        figure="all_mb",
        unit="MB",
        promises={"make demo": "as in production, on one node each; its answers are checked"},
        no_ceiling="the bar is absolute; most of it is the servers' own settings",
        runs=1,
    ),
)
