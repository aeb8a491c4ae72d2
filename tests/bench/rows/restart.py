"""A worker is killed with -9 and started again: how long until it folds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from demo.running import Service
from tests.bench.bench import Bench
from tests.bench.load import samples
from tests.bench.processes import service
from tests.bench.product import contacts_on, mint, order
from tests.bench.row import Contestant, Kind, Row, Run, at_most
from tests.bench.topics import drop_topics

EVENTS = 2_000
LONGEST_S = 60
LOOK_EVERY_S = 0.01
ENTERED = "select count(*) from timeline_entry"
DOUBLED = "select count(*) - count(distinct event_id) from timeline_entry"
BARE = "bare asyncpg, a process"


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def restarted(kind: Kind, who: str, placing: Callable[[Bench, str], Service]) -> Run:
        await drop_topics(bench.kafka)
        async with contacts_on(bench) as placed:
            core, chosen = placed.core, list(samples(EVENTS))
            await mint(core.pool, (one.customer_id for one in chosen))
            worker = placing(bench, placed.url)
            half = EVENTS // 2

            async def entered(count: int) -> None:
                async with asyncio.timeout(LONGEST_S):
                    while await core.pool.fetchval(ENTERED) < count:
                        await asyncio.sleep(LOOK_EVERY_S)

            worker.start()
            try:
                await core.log.append(facts=[order(one) for one in chosen[:half]])
                await entered(half)
                killed_at = time.perf_counter()
                worker.process.kill()
                worker.process.wait()
                worker.start()
                with bench.watch(worker=worker.process.pid):
                    async with bench.timed() as timed:
                        await core.log.append(facts=[order(one) for one in chosen[half:]])
                        await entered(half + 1)
                        again = time.perf_counter() - killed_at
                        await entered(EVENTS)
            finally:
                await asyncio.to_thread(worker.stop)
            count, doubled = [await core.pool.fetchval(sql) for sql in (ENTERED, DOUBLED)]
        return timed.run(
            kind,
            who,
            events=half,
            correct=(count, doubled) == (EVENTS, 0),
            figures={"again_s": again},
            settings={"the clock begins": "at the kill", "start of the process": "included"},
        )

    yield (
        partial(restarted, "kith", "contacts worker", worker_of),
        partial(restarted, "ceiling", BARE, bare_worker),
    )


def worker_of(bench: Bench, database: str) -> Service:
    return service(bench, "contacts", database, role="worker")


def bare_worker(bench: Bench, database: str) -> Service:
    """`tests.bench.bare_worker` as a process, told what contacts' worker is told."""
    return replace(
        service(bench, "contacts", database, role="bare"), name="tests.bench.bare_worker"
    )


ROWS = (
    Row(
        "restart",
        does="worker killed with -9 and started at once: folding again",
        contestants=contestants,
        bars=(at_most(2, "s", figure="again_s"),),
        figure="again_s",
        unit="s",
        reference="group timeouts cost peers 10 s",
        promises={
            "contacts worker": "exactly once over the kill: no entry lost, none twice",
            BARE: "the same read model by two statements, model and checkpoint in one; nothing "
            "opened, no lease that a killed process still holds, no Kafka",
        },
    ),
)
