"""What an event takes on disk: in contacts' log, in Kafka and in analytics' log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import asyncpg
from crm_events.topics import PURCHASES

from tests.bench.bench import Bench
from tests.bench.growth_picture import BYTES
from tests.bench.product import Contacts
from tests.bench.row import Contestant, Row, Run
from tests.bench.rows.growth import analytics_of, contacts_of, name_of, sizes
from tests.bench.rows.relay import relay_of
from tests.bench.topics import drop_topics, topic_bytes

RELAYED = 1_000_000
"""Of each log at most so many are sent to see what they take in Kafka: one of 1e7 needs no hour."""
SENT = "select coalesce(sum(sequence), 0)::int from relay_sequence"


@asynccontextmanager
async def storing(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def weigh(size: int) -> Run:
        placed = await contacts_of(bench, size)
        heard = (await analytics_of(bench, size)).core.pool
        async with bench.timed() as timed:
            figures = {
                "contacts' log": await bytes_an_event(placed.core.pool),
                "Kafka": sent[size].bytes_each or 0.0,
                "analytics' log": await bytes_an_event(heard),
            }
        figures[BYTES] = round(sum(figures.values()), 1)
        return timed.run(
            "kith",
            name_of(size),
            events=size,
            figures=figures,
            settings={"size": size, "records weighed in Kafka": sent[size].records, **figures},
        )

    # Once for all runs: what was sent is not sent again.
    sent = {size: await in_kafka(bench, await contacts_of(bench, size)) for size in sizes(bench)}
    yield [partial(weigh, size) for size in sizes(bench)]


async def bytes_an_event(pool: asyncpg.Pool) -> float:
    """Of the log with its indexes."""
    total, rows = await pool.fetchrow(
        "select pg_total_relation_size('log'), (select count(*) from log)"
    )
    return round(total / rows, 1)


class InKafka(NamedTuple):
    """Records of a log that were sent to be weighed, and what each takes on the broker's disk."""

    records: int
    bytes_each: float | None  # None: the broker is not our own, or nothing was sent


async def in_kafka(bench: Bench, contacts: Contacts) -> InKafka:
    """Send what this log has not sent, from its start."""
    pool, count = contacts.core.pool, 0
    await drop_topics(bench.kafka)
    relay = relay_of(bench, pool)
    try:
        while count < RELAYED and await relay.turn():
            count = await pool.fetchval(SENT)
    finally:
        await relay.close()
    total = topic_bytes(bench.stack, PURCHASES.name)
    return InKafka(count, round(total / count, 1) if total and count else None)


ROWS = (
    Row(
        "growth.bytes",
        does="bytes on disk of an event, with indexes: contacts' log, Kafka, analytics' log",
        contestants=storing,
        figure=BYTES,
        unit="bytes an event, all copies",
        runs=1,
        promises={"1e": "every event kept, in each of three places"},
        no_ceiling="bytes are weighed, not raced; no driver writes the same rows into fewer",
    ),
)
