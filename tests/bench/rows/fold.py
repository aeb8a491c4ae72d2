"""Log to score: how many events a second are folded, beside a plain loop over the same SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import asyncpg
from analytics.bootstrap import Core
from analytics.engagement.model import ScoringModel
from crm_events.contacts import OrderCompleted
from crm_projections.model import ReadModel
from crm_projections.pages import PAGE_ROWS
from crm_projections.projector import Projector

from tests.bench.bench import Bench
from tests.bench.filled import add_events, draw
from tests.bench.heard import Score, as_bought, as_expected, expected_alike
from tests.bench.load import CUSTOMERS, Keys
from tests.bench.plain_loop import PlainLoop
from tests.bench.product import Analytics, Leads, analytics_on
from tests.bench.row import Contestant, Contestants, Kind, Row, Run, at_least, of_ceiling

EVENTS = 500_000
UNIQUE_EVENTS = 200_000
QUICK_EVENTS = 10_000
FACTS = f"select partition_key, occurred_at from log where type = '{OrderCompleted.type}'"  # noqa: S608  # a constant
# Each event gets a customer of its own; what a score reads of it is not touched.
OWN_CUSTOMER = "update log l set partition_key = d.id from drawn d where d.rank = l.gp"


async def fill(pool: asyncpg.Pool, events: int, keys: Keys) -> None:
    """Heard purchases, none folded yet."""
    async with pool.acquire() as connection:
        await connection.execute("set transaction_timeout = 0; set statement_timeout = 0")
        customers = CUSTOMERS if keys == "Zipf" else events
        await draw(connection, customers)
        await add_events(connection, 1, events, customers, heard=True)
        if keys == "unique":
            await connection.execute(OWN_CUSTOMER, timeout=120)
        await connection.execute("vacuum (analyze) log", timeout=120)
        await connection.execute("reset transaction_timeout; reset statement_timeout")


def projector(core: Core, models: Sequence[ReadModel]) -> Projector:
    """As a worker runs it; nobody else wants its lease."""
    return Projector(
        pool=core.pool,
        log=core.log,
        models=models,
        lease=Leads(),
        wake=asyncio.Event(),
        clock=core.clock,
    )


def contestants(keys: Keys, *, everything: bool = False) -> Contestants:
    """Kith's fold beside the plain loop: of the score alone, or of `everything` a worker folds."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        full = EVENTS if keys == "Zipf" else UNIQUE_EVENTS
        events = bench.size(full, quick=QUICK_EVENTS)

        async def measured(
            kind: Kind, who: str, fold: Callable[[Analytics], Awaitable[None]]
        ) -> Run:
            async with analytics_on(bench) as placed:
                core, model = placed.core, placed.core.models[0]
                await fill(core.pool, events, keys)
                async with bench.timed() as timed:
                    await fold(placed)
                scores = await must_have(placed.url, model)
                right = await as_expected(core.pool, model, scores)
                if everything:
                    right = right and await as_bought(placed.url)
            return timed.run(
                kind,
                who,
                events=events,
                correct=right,
                settings={"customers": len(scores), "rows a page": PAGE_ROWS},
            )

        async def kith(placed: Analytics) -> None:
            core = placed.core
            folding = projector(core, core.read_models if everything else core.scores)
            while await folding.turn():
                pass

        async def plain(placed: Analytics) -> None:
            connection = await asyncpg.connect(placed.url)
            await PlainLoop(connection, placed.core.models[0], buys=everything).run()
            await connection.close()

        yield (
            partial(measured, "kith", "Projector", kith),
            partial(measured, "ceiling", "plain loop, bare asyncpg", plain),
        )

    return opened


async def must_have(url: str, model: ScoringModel) -> dict[UUID, Score]:
    """What must have come of all purchases that are in the log."""
    connection = await asyncpg.connect(url)
    try:
        return expected_alike(await connection.fetch(FACTS), model)
    finally:
        await connection.close()


PROMISES = {
    "Projector": "exactly once, a compare-and-set with each page; a lease; metrics",
    "plain loop, bare asyncpg": "the same statements, no lease, no read ahead; all that it folds "
    "moves under one checkpoint, and nothing parks",
}
ROWS = (
    Row(
        "fold.zipf",
        does="log to score, 50,000 customers",
        contestants=contestants("Zipf"),
        bars=(
            at_least(95_000, "events/s"),
            of_ceiling(0.7),
        ),
        reference="Kafka Streams exactly-once, warm, on one core 90k; plain loop 140k",
        keys="Zipf",
        promises=PROMISES,
    ),
    Row(
        "fold.unique",
        does="log to score, every event its own customer",
        contestants=contestants("unique"),
        bars=(of_ceiling(0.7),),
        reference="25k to 31k on a busy machine",
        keys="unique",
        promises=PROMISES,
    ),
    Row(
        "fold.worker",
        does="log to all of analytics' read models: links, buying, score",
        contestants=contestants("Zipf", everything=True),
        keys="Zipf",
        promises=PROMISES,
    ),
)
