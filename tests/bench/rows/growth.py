"""What an event and a read cost on logs of 1e5, 1e6 and, when asked for, 1e7 events."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import httpx
from contacts.bootstrap import SERVICE
from crm_chassis.clock import utc_now
from crm_chassis.kafka_topics import ensure_topics
from crm_chassis.projection.projector import Projector
from crm_chassis.relay.relay import Relay
from crm_events.topics import CONTRACT, PURCHASES

from tests.bench.bench import Bench
from tests.bench.filled import add_events, customers_of, fill_analytics, fill_contacts, unhurried
from tests.bench.growth_picture import BYTES, COST, READ
from tests.bench.load import customer, latency, samples
from tests.bench.product import Analytics, Contacts, Leads, analytics_on, contacts_on, mint, order
from tests.bench.row import Bar, Contestant, Row, Run
from tests.bench.topics import drop_topics, topic_bytes

APPENDED, BATCH = 100_000, 100
FOLDED = 200_000
"""Enough to pay for the pages that PostgreSQL writes whole after a checkpoint, as a day's work."""
RELAYED = 50_000
READS = 400
FLAT = 1.25
"""What counts as flat: the most that the largest size may cost, as a multiple of the smallest."""
SMALLEST = 100_000
QUICK_SMALLEST = 10_000
_numbers = itertools.count(100_000_000)
"""Of messages that are not in a filled log yet."""


def sizes(bench: Bench) -> list[int]:
    """Powers of ten up to the largest that was asked for."""
    smallest = bench.size(SMALLEST, quick=QUICK_SMALLEST)
    largest = bench.size(bench.growth, quick=QUICK_SMALLEST * 10)
    return [size for n in range(4) if (size := smallest * 10**n) <= largest]


def name_of(size: int) -> str:
    return f"{size:.0e} events".replace("e+0", "e")


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
    async def append(size: int) -> Run:
        core = (await contacts_of(bench, size)).core
        count = bench.size(APPENDED, quick=2_000)
        chosen = [one._replace(number=next(_numbers)) for one in samples(count)]
        facts = [order(one) for one in chosen]
        before = await core.pool.fetchval("select count(*) from log where gp > $1", size)
        async with bench.timed() as timed:
            for first in range(0, count, BATCH):
                await core.log.append(facts=facts[first : first + BATCH])
        after = await core.pool.fetchval("select count(*) from log where gp > $1", size)
        assert timed.cost is not None
        return timed.run(
            "kith",
            name_of(size),
            events=count,
            correct=after - before == count,
            figures={COST: timed.cost.seconds / count * 1e6},
            settings={"size": size, "batch": BATCH, "writers": 1},
        )

    for size in sizes(bench):
        pool = (await contacts_of(bench, size)).core.pool
        held = {row["key_id"] for row in await pool.fetch("select key_id from subject_key")}
        wanted = {one.customer_id for one in samples(APPENDED)}
        await mint(pool, (one for one in wanted if str(one) not in held))
    yield [partial(append, size) for size in sizes(bench)]


@asynccontextmanager
async def folding(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    count = bench.size(FOLDED, quick=2_000)
    reached = {size: size for size in sizes(bench)}

    async def fold(size: int) -> Run:
        core = (await analytics_of(bench, size)).core
        async with unhurried(core.pool) as connection:
            first, customers = reached[size] + 1, customers_of(size)
            await add_events(connection, first, first + count - 1, customers, heard=True)
        reached[size] += count
        before = await counted(core.pool)
        projector = Projector(
            pool=core.pool,
            log=core.log,
            models=core.read_models,
            lease=Leads(),
            wake=asyncio.Event(),
            clock=utc_now,
        )
        async with bench.timed() as timed:
            while await projector.turn():
                pass
        assert timed.cost is not None
        return timed.run(
            "kith",
            name_of(size),
            events=count,
            correct=await counted(core.pool) - before == count,
            figures={COST: timed.cost.seconds / count * 1e6},
            settings={"size": size, "read models": len(core.read_models)},
        )

    yield [partial(fold, size) for size in sizes(bench)]


async def counted(pool: asyncpg.Pool) -> int:
    """What the read model of purchases has counted, of all customers."""
    return int(await pool.fetchval("select sum(orders) from buying"))


@asynccontextmanager
async def leading(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def read(size: int) -> Run:
        async with (await analytics_of(bench, size)).asked() as client:
            return await read_one_by_one(bench, size, client, lambda: "/leaders?limit=50")

    yield [partial(read, size) for size in sizes(bench)]


@asynccontextmanager
async def filing(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def read(size: int) -> Run:
        rng = random.Random(size)  # noqa: S311  # the same customers each time, no secret

        def path() -> str:
            return f"/customers/{customer(rng.randint(1, customers_of(size)))}"

        async with (await contacts_of(bench, size)).asked() as client:
            return await read_one_by_one(bench, size, client, path)

    yield [partial(read, size) for size in sizes(bench)]


async def read_one_by_one(
    bench: Bench, size: int, client: httpx.AsyncClient, path: Callable[[], str]
) -> Run:
    """Reads in a row, within this process; the first ones warm up and are not counted."""
    reads = bench.size(READS, quick=50)
    for _ in range(20):
        (await client.get(path())).raise_for_status()
    took: list[float] = []
    async with bench.timed() as timed:
        for _ in range(reads):
            begun = time.perf_counter()
            answer = await client.get(path())
            took.append(time.perf_counter() - begun)
            answer.raise_for_status()
    return timed.run(
        "kith",
        name_of(size),
        events=reads,
        latency=latency(took, [0.0]),
        settings={"size": size, "one after the other": True},
    )


@asynccontextmanager
async def storing(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def weigh(size: int) -> Run:
        own = (await contacts_of(bench, size)).core.pool
        heard = (await analytics_of(bench, size)).core.pool
        async with bench.timed() as timed:
            figures = {
                "contacts' log": await bytes_an_event(own),
                "Kafka": sent or 0.0,
                "analytics' log": await bytes_an_event(heard),
            }
        figures[BYTES] = round(sum(figures.values()), 1)
        return timed.run(
            "kith", name_of(size), events=size, figures=figures, settings={"size": size, **figures}
        )

    sent = await kafka_bytes(bench, await contacts_of(bench, sizes(bench)[0]), RELAYED)
    yield [partial(weigh, size) for size in sizes(bench)]


async def bytes_an_event(pool: asyncpg.Pool) -> float:
    """Of the log with its indexes."""
    total, rows = await pool.fetchrow(
        "select pg_total_relation_size('log'), (select count(*) from log)"
    )
    return round(total / rows, 1)


async def kafka_bytes(bench: Bench, contacts: Contacts, records: int) -> float | None:
    """Send so many of the log's rows, and see what a record takes."""
    pool, settings = contacts.core.pool, contacts.settings
    await drop_topics(bench.kafka)
    await ensure_topics(
        bench.kafka, CONTRACT.published_by(SERVICE), replication_factor=1, min_insync=1
    )
    relay = Relay(
        pool=pool,
        contract=CONTRACT,
        service=SERVICE,
        bootstrap=settings.kafka_bootstrap,
        replication_factor=1,
        min_insync=1,
        lease=Leads(),
        wake=asyncio.Event(),
        clock=utc_now,
    )
    sent = "select coalesce(sum(sequence), 0)::int from relay_sequence"
    before = await pool.fetchval(sent)
    try:
        while await pool.fetchval(sent) - before < records and await relay.turn():
            pass
    finally:
        await relay.close()
    count = await pool.fetchval(sent) - before
    total = topic_bytes(bench.stack, PURCHASES.name)
    return None if total is None or not count else round(total / count, 1)


def flat(figure: str) -> Bar:
    return Bar(FLAT, "times the smallest log's", figure, "less", over="first", judges="last")


ROWS = (
    Row(
        "growth.append",
        does="100,000 facts appended in batches of 100 by one writer, on a log of so many events",
        contestants=appending,
        bars=(flat(COST),),
        figure=COST,
        unit="us an event",
        keys="Zipf",
        promises={"1e": "durable, each once for ever"},
    ),
    Row(
        "growth.fold",
        does="the newest 200,000 events folded into analytics' read models",
        contestants=folding,
        bars=(flat(COST),),
        figure=COST,
        unit="us an event",
        keys="Zipf",
        promises={"1e": "exactly once, a compare-and-set with each page"},
    ),
    Row(
        "growth.leaders",
        does="GET /leaders?limit=50, one after the other, in the process of the API",
        contestants=leading,
        bars=(flat(READ),),
        figure=READ,
        unit="ms at p99",
        promises={"1e": "says how fresh it is"},
    ),
    Row(
        "growth.file",
        does="GET /customers/{id}, one after the other, any customer alike",
        contestants=filing,
        bars=(flat(READ),),
        figure=READ,
        unit="ms at p99",
        promises={"1e": "says how fresh it is"},
    ),
    Row(
        "growth.bytes",
        does="bytes on disk of an event, with indexes: contacts' log, Kafka, analytics' log",
        contestants=storing,
        figure=BYTES,
        unit="bytes an event, all copies",
        runs=1,
        promises={"1e": "every event kept, in each of three places"},
    ),
)
