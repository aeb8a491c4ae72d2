"""Log to score: how many events a second are folded, beside a plain loop over the same SQL."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
from analytics.bootstrap import Core
from analytics.engagement.engagement import READ_SUMS, WRITE_SUMS
from analytics.engagement.model import ScoringModel
from crm_chassis.log.entries import Statement
from crm_chassis.log.position import LAST, START, Position
from crm_chassis.log.statements import guarded
from crm_chassis.log.tail import GLANCES
from crm_chassis.projection.checkpoints import MOVE, REGISTER
from crm_chassis.projection.model import ReadModel
from crm_chassis.projection.pages import PAGE_ROWS
from crm_chassis.projection.projector import Projector

from tests.bench.bench import Bench
from tests.bench.filled import add_events, draw
from tests.bench.load import CUSTOMERS, Keys
from tests.bench.product import Leads, analytics_on
from tests.bench.row import Contestant, Row, Run, at_least, of_ceiling

EVENTS = 500_000
UNIQUE_EVENTS = 200_000
QUICK_EVENTS = 10_000
COUNTED = "select coalesce(sum(counted), 0)::int, count(*)::int from engagement"
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


def contestants(
    keys: Keys, models_of: Callable[[Core], Sequence[ReadModel]], *, beside: bool
) -> Callable[[Bench], AsyncIterator[Sequence[Contestant]]]:
    """Kith's fold of these models; `beside`: the plain loop too."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        full = EVENTS if keys == "Zipf" else UNIQUE_EVENTS
        events = bench.size(full, quick=QUICK_EVENTS)

        async def measured(kind: str, who: str, fold: Callable[[Core], object]) -> Run:
            async with analytics_on(bench) as placed:
                core = placed.core
                await fill(core.pool, events, keys)
                async with bench.timed() as timed:
                    await fold(core)
                counted, customers = await core.pool.fetchrow(COUNTED)
            return timed.run(
                kind,
                who,
                events=events,
                correct=counted == events,
                settings={"customers": customers, "rows a page": PAGE_ROWS},
            )

        async def kith(core: Core) -> None:
            folding = projector(core, models_of(core))
            while await folding.turn():
                pass

        found = [partial(measured, "kith", "Projector", kith)]
        if beside:
            found.append(partial(measured, "ceiling", "plain loop, bare asyncpg", plain_loop))
        yield found

    return opened


async def plain_loop(core: Core) -> None:
    """The same statements one after the other, and sums in a dictionary."""
    model = core.models[0]
    connection = await asyncpg.connect(dsn=_dsn(core.pool))
    try:
        await connection.execute(REGISTER, [model.projection], [model.version])
        at = START
        while (end := await _page(connection, model, at)) is not None:
            at = end
    finally:
        await connection.close()


async def _page(
    connection: asyncpg.Connection, model: ScoringModel, at: Position
) -> Position | None:
    row = await connection.fetchrow(
        GLANCES, at.epoch, str(at.xid), at.gp, LAST.epoch, str(LAST.xid), LAST.gp, PAGE_ROWS,
        list(model.types), [], [],
    )  # fmt: skip
    if row is None:
        return None
    rate, landmark, weight = model.decay.rate, model.landmark, math.log(model.kinds[0].weight)
    sums: dict[object, list[float]] = {}
    last: dict[object, object] = {}
    for customer, when in zip(row["keys"], row["occurred"], strict=True):
        term = weight + rate * (when - landmark).total_seconds()
        sums.setdefault(customer, []).append(term)
        if customer not in last or when > last[customer]:
            last[customer] = when
    ids = ",".join(map(str, sums))
    known = await connection.fetchrow(READ_SUMS, model.model_id, ids)
    before = dict(
        zip(known[0] or (), zip(known[1] or (), known[3] or (), strict=True), strict=True)
    )
    s, counted = [], []
    for customer, terms in sums.items():
        s_before, n_before = before.get(customer, (None, 0))
        every = terms if s_before is None else [s_before, *terms]
        largest = max(every)
        s.append(largest + math.log(sum(math.exp(term - largest) for term in every)))
        counted.append(n_before + len(terms))
    end = Position(row["epoch"], int(row["xid"]), row["gp"])
    empty = "{" + ",".join(["null"] * len(s)) + "}"
    nothing = "{" + ",".join(["0"] * len(s)) + "}"
    write = Statement(
        WRITE_SUMS,
        (model.model_id, ids, _array(s), empty, _array(counted), nothing, _array(last.values())),
    )
    move = Statement(
        MOVE,
        (end.epoch, str(end.xid), end.gp, row["recorded_at"], model.projection, model.version,
         at.epoch, str(at.xid), at.gp),
    )  # fmt: skip
    statement = guarded(move, [write])
    await connection.fetchval(statement.sql, *statement.args)
    return end


def _array(values: object) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _dsn(pool: asyncpg.Pool) -> str:
    return pool._connect_args[0]


def _scores(core: Core) -> Sequence[ReadModel]:
    return core.scores


def _all(core: Core) -> Sequence[ReadModel]:
    return core.read_models


PROMISES = {
    "Projector": "exactly once, a compare-and-set with each page; a lease; metrics",
    "plain loop, bare asyncpg": "the same statements, no lease, no read ahead, one model",
}
ROWS = (
    Row(
        "fold.zipf",
        does="log to score, 50,000 customers",
        contestants=contestants("Zipf", _scores, beside=True),
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
        contestants=contestants("unique", _scores, beside=True),
        bars=(of_ceiling(0.7),),
        reference="25k to 31k on a busy machine",
        keys="unique",
        promises=PROMISES,
    ),
    Row(
        "fold.worker",
        does="log to all of analytics' read models: links, buying, score",
        contestants=contestants("Zipf", _all, beside=False),
        keys="Zipf",
        promises=PROMISES,
    ),
)
