"""What an event and a read cost on logs of 1e5, 1e6 and, when asked for, 1e7 events.

Beside each log the same statements by the bare driver on that log: what grows there is
PostgreSQL's. As many events as are measured come before, unmeasured: PostgreSQL writes a page whole
the first time it is changed after a checkpoint, and of a larger log more pages. A log under load
pays for that once between two checkpoints; whoever came first here would pay for all.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import asyncpg
import httpx
from analytics.leaders.standings import LEADERS, OWED
from crm_chassis.http.reads import CHECKPOINTS
from crm_store.log.append import APPEND_FACTS
from crm_store.log.entries import Fact

from tests.bench.bench import Bench
from tests.bench.filled import (
    add_events,
    customers_of,
    fill_analytics,
    fill_contacts,
    level,
    unhurried,
)
from tests.bench.growth_picture import COST, READ
from tests.bench.load import CUSTOMERS, customer, latency, samples
from tests.bench.plain_loop import PlainLoop
from tests.bench.product import Analytics, Contacts, analytics_on, contacts_on, mint, order
from tests.bench.row import Bar, Contestant, Contestants, Kind, Row, Run
from tests.bench.rows.append import connections
from tests.bench.rows.customer_file import read_bare
from tests.bench.rows.facts import arguments
from tests.bench.rows.fold import projector

APPENDED, BATCH = 100_000, 100
FOLDED = 200_000
READS = 400
FLAT = 1.25
"""What counts as flat: the most that the largest size may cost, as a multiple of the smallest."""
SMALLEST = 100_000
QUICK_SMALLEST = 10_000
LIMIT = 50
NEWEST = "select gp from log order by epoch desc, xid desc, gp desc limit 1"
BEHIND = "select count(*) from log where gp > $1"
_numbers = itertools.count(100_000_000)
"""Of messages that are not in a filled log yet."""


def sizes(bench: Bench) -> list[int]:
    """Powers of ten up to the largest that was asked for."""
    smallest = bench.size(SMALLEST, quick=QUICK_SMALLEST)
    largest = bench.size(bench.growth, quick=QUICK_SMALLEST * 10)
    return [size for n in range(4) if (size := smallest * 10**n) <= largest]


def name_of(size: int) -> str:
    return f"{size:.0e} events".replace("e+0", "e")


def both(
    bench: Bench,
    measured: Callable[[int, Kind, str], Awaitable[Run]],
) -> list[Contestant]:
    """Kith on each log, then the ceiling on each."""
    own = [partial(measured, size, "kith", name_of(size)) for size in sizes(bench)]
    top = [partial(measured, size, "ceiling", f"bare, {name_of(size)}") for size in sizes(bench)]
    return [*own, *top]


async def contacts_of(bench: Bench, size: int) -> Contacts:
    """contacts with so many events; filled once for all rows of a run."""

    @asynccontextmanager
    async def filled() -> AsyncIterator[Contacts]:
        async with contacts_on(bench) as placed:
            await fill_contacts(placed.core.pool, size)
            await checkpoint(bench)
            yield placed

    return await bench.shared(f"contacts {size}", filled)


async def analytics_of(bench: Bench, size: int) -> Analytics:
    @asynccontextmanager
    async def filled() -> AsyncIterator[Analytics]:
        async with analytics_on(bench) as placed:
            await fill_analytics(placed.core, size)
            await checkpoint(bench)
            yield placed

    return await bench.shared(f"analytics {size}", filled)


async def checkpoint(bench: Bench) -> None:
    """Have all that was filled written, so that nobody does it while something is measured."""
    connection = await asyncpg.connect(bench.stack.postgres.admin_url)
    await connection.execute("checkpoint", timeout=600)
    await connection.close()


@asynccontextmanager
async def appending(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    count = bench.size(APPENDED, quick=2_000)

    def new_batches() -> list[list[Fact]]:
        facts = [order(one._replace(number=next(_numbers))) for one in samples(count)]
        return [facts[first : first + BATCH] for first in range(0, count, BATCH)]

    async def append(size: int, kind: Kind, who: str) -> Run:
        placed = await contacts_of(bench, size)
        pool, batches = placed.core.pool, new_batches()
        before = await pool.fetchval(BEHIND, size)
        async with connections(placed.url, 1) as (connection,):
            prepared = [arguments(batch) for batch in batches] if kind == "ceiling" else []
            statement = await connection.prepare(APPEND_FACTS)
            async with bench.timed() as timed:
                if kind == "ceiling":
                    for each in prepared:
                        await statement.fetch(*each)
                else:
                    for batch in batches:
                        await placed.core.log.append(facts=batch)
        after = await pool.fetchval(BEHIND, size)
        return timed.run(
            kind,
            who,
            events=count,
            correct=after - before == count,
            figures=timed.cost_of(count),
            settings={"size": size, "batch": BATCH, "writers": 1},
        )

    filled = [await contacts_of(bench, size) for size in sizes(bench)]  # each with a checkpoint
    for placed in filled:
        pool = placed.core.pool
        held = {row["key_id"] for row in await pool.fetch("select key_id from subject_key")}
        wanted = {one.customer_id for one in samples(APPENDED)}
        await mint(pool, (one for one in wanted if str(one) not in held))
        for batch in new_batches():
            await pool.fetch(APPEND_FACTS, *arguments(batch))
    yield both(bench, append)


def folding(drawn: Callable[[int], int]) -> Contestants:
    """Of events whose customers are drawn from the first so many of a log of that size."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        fold = partial(fold_newest, bench, drawn=drawn)
        for size in sizes(bench):
            await analytics_of(bench, size)  # each with a checkpoint
        for size in sizes(bench):
            await fold(size, "kith", "beforehand")
        yield both(bench, fold)

    return opened


async def fold_newest(
    bench: Bench, size: int, kind: Kind, who: str, *, drawn: Callable[[int], int]
) -> Run:
    """Hear events of customers drawn so, and fold them."""
    count = bench.size(FOLDED, quick=2_000)
    placed = await analytics_of(bench, size)
    core = placed.core
    async with unhurried(core.pool) as connection:
        first = await connection.fetchval(NEWEST) + 1
        await add_events(connection, first, first + count - 1, drawn(size), heard=True)
    before = await counted(core.pool)
    plain = await asyncpg.connect(placed.url)
    async with bench.timed() as timed:
        if kind == "ceiling":
            await PlainLoop(plain, core.models[0], buys=True).run()
        else:
            folding = projector(core, core.read_models)
            while await folding.turn():
                pass
    await level(plain, core)  # the plain loop keeps one checkpoint for all
    await plain.close()
    return timed.run(
        kind,
        who,
        events=count,
        correct=await counted(core.pool) - before == count,
        figures=timed.cost_of(count),
        settings={"size": size, "read models": len(core.read_models)},
    )


async def counted(pool: asyncpg.Pool) -> int:
    """What the read model of purchases has counted, of all customers."""
    return int(await pool.fetchval("select sum(orders) from buying"))


@asynccontextmanager
async def leading(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def read(size: int, kind: Kind, who: str) -> Run:
        placed = await analytics_of(bench, size)
        pool, model = placed.core.pool, placed.core.models[0]

        async def bare() -> None:
            await pool.fetch(CHECKPOINTS)
            await pool.fetch(OWED, model.model_id)
            await pool.fetch(LEADERS, model.model_id, None, None, LIMIT)

        async with placed.asked() as client:
            asking = bare if kind == "ceiling" else asks(client, lambda: f"/leaders?limit={LIMIT}")
            return await read_one_by_one(bench, size, kind, who, asking)

    yield both(bench, read)


@asynccontextmanager
async def filing(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def read(size: int, kind: Kind, who: str) -> Run:
        rng = random.Random(size)  # noqa: S311  # the same customers each time, no secret
        placed = await contacts_of(bench, size)

        def anyone() -> UUID:
            return customer(rng.randint(1, customers_of(size)))

        async def bare() -> None:
            await read_bare(placed.core.pool, anyone())

        async with placed.asked() as client:
            asking = bare if kind == "ceiling" else asks(client, lambda: f"/customers/{anyone()}")
            return await read_one_by_one(bench, size, kind, who, asking)

    yield both(bench, read)


def asks(client: httpx.AsyncClient, path: Callable[[], str]) -> Callable[[], Awaitable[None]]:
    async def ask() -> None:
        (await client.get(path())).raise_for_status()

    return ask


async def read_one_by_one(
    bench: Bench, size: int, kind: Kind, who: str, ask: Callable[[], Awaitable[None]]
) -> Run:
    """Reads in a row, within this process; the first ones warm up and are not counted."""
    reads = bench.size(READS, quick=50)
    for _ in range(20):
        await ask()
    took: list[float] = []
    async with bench.timed() as timed:
        for _ in range(reads):
            begun = time.perf_counter()
            await ask()
            took.append(time.perf_counter() - begun)
    return timed.run(
        kind,
        who,
        events=reads,
        latency=latency(took, [0.0]),
        settings={"size": size, "one after the other": True},
    )


def flat(figure: str) -> Bar:
    return Bar(FLAT, "times the smallest log's", figure, "less", over="first", judges="last")


ROWS = (
    Row(
        "growth.append",
        does="100,000 facts appended in batches of 100 by one writer, on a log of so many events, "
        "behind 100,000 others or a few times that",
        contestants=appending,
        bars=(flat(COST),),
        figure=COST,
        unit="us an event",
        keys="Zipf",
        promises={
            "1e": "durable, each once for ever",
            "bare": "the same statement; sealed beforehand, no key looked up",
        },
    ),
    *(
        Row(
            name,
            does="200,000 events folded into analytics' read models, on a log of so many events, "
            "behind 200,000 others or a few times that",
            contestants=folding(drawn),
            bars=(flat(COST),),
            figure=COST,
            unit="us an event",
            keys=said,
            promises={
                "1e": "exactly once, a compare-and-set with each page",
                "bare": "the plain loop of `fold.worker`",
            },
        )
        for name, drawn, said in (
            ("growth.fold", lambda _: CUSTOMERS, "Zipf"),
            ("growth.fold.all", customers_of, "Zipf, all customers of the log"),
        )
    ),
    Row(
        "growth.leaders",
        does="GET /leaders?limit=50, one after the other, in the process of the API",
        contestants=leading,
        bars=(flat(READ),),
        figure=READ,
        unit="ms at p99",
        promises={
            "1e": "says how fresh it is",
            "bare": "its three statements; no key asked for, nothing put together",
        },
    ),
    Row(
        "growth.file",
        does="GET /customers/{id}, one after the other, any customer alike",
        contestants=filing,
        bars=(flat(READ),),
        figure=READ,
        unit="ms at p99",
        promises={
            "1e": "says how fresh it is",
            "bare": "its five statements; no key asked for, nothing put together",
        },
    ),
)
