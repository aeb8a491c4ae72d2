"""Appending facts in batches of 100, beside the same statement by bare asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from crm_store.log.append import APPEND_FACTS
from crm_store.log.entries import Fact

from tests.bench.bench import Bench
from tests.bench.load import Keys, samples
from tests.bench.product import contacts_on, mint, order
from tests.bench.row import Contestant, Contestants, Row, Run, at_least, of_ceiling
from tests.bench.rows.append import columns, connections, warm

BATCH = 100
WRITERS = 8
EVENTS = 100_000
BATCHES = {"writers": WRITERS, "events a call": BATCH}


def arguments(batch: Sequence[Fact]) -> tuple[Any, ...]:
    """What the statement is given for these facts."""
    streams = [fact.stream_id for fact in batch]
    first = batch[0].event.occurred_at
    return (1, first, streams, [1] * len(batch), *columns([fact.event for fact in batch]))


def contestants(keys: Keys) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        facts = [order(one) for one in samples(bench.size(EVENTS, quick=10_000), keys=keys)]
        batches = [facts[n : n + BATCH] for n in range(0, len(facts), BATCH)]
        customers = {fact.event.partition_key for fact in facts}

        async def kith() -> Run:
            async with contacts_on(bench) as placed:
                log, pool = placed.core.log, placed.core.pool
                await mint(pool, customers)
                await warm(pool, WRITERS)
                left = iter(batches)

                async def write() -> None:
                    for batch in left:
                        await log.append(facts=batch)

                async with bench.timed() as timed:
                    await asyncio.gather(*(write() for _ in range(WRITERS)))
                count = await pool.fetchval("select count(distinct stream_id) from log")
            return timed.run(
                "kith", "Log.append", events=len(facts), correct=count == len(facts),
                settings=BATCHES,
            )  # fmt: skip

        async def bare() -> Run:
            async with contacts_on(bench) as placed, connections(placed.url, WRITERS) as opened:
                left = iter([arguments(batch) for batch in batches])

                async def write(connection: asyncpg.Connection) -> None:
                    statement = await connection.prepare(APPEND_FACTS)
                    for each in left:
                        await statement.fetch(*each)

                async with bench.timed() as timed:
                    await asyncio.gather(*map(write, opened))
                count = await placed.core.pool.fetchval("select count(distinct stream_id) from log")
            return timed.run(
                "ceiling", "bare asyncpg", events=len(facts), correct=count == len(facts)
            )

        yield kith, bare

    return opened


ROWS = tuple(
    Row(
        name,
        does=f"facts appended by {WRITERS} writers in batches of {BATCH}, sealed, "
        "durable at the answer",
        contestants=contestants(keys),
        bars=(of_ceiling(0.7), at_least(30_000, "events/s")),
        reference="pyeventsourcing 28k to 31k",
        keys=said,
        promises={
            "Log.append": "durable, each once for ever",
            "bare asyncpg": "the same statement; sealed beforehand, no key looked up",
        },
    )
    for name, keys, said in (
        ("append.facts", "Zipf", "Zipf"),
        ("append.facts.unique", "unique", "every event its own customer"),
    )
)
