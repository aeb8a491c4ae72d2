"""Log to Kafka: records a second by the relay, beside the same batches by the bare drivers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from crm_chassis.clock import utc_now
from crm_chassis.kafka_producer import BATCH_BYTES
from crm_chassis.relay.page import PAGE_ROWS
from crm_chassis.relay.relay import Relay
from crm_events.topics import CONTRACT, PURCHASES

from tests.bench.bench import Bench
from tests.bench.filled import add_events, draw
from tests.bench.load import CUSTOMERS
from tests.bench.product import Leads, contacts_on
from tests.bench.row import Contestant, Row, Run, at_least, of_ceiling
from tests.bench.topics import drop_topics

EVENTS = 200_000
QUICK_EVENTS = 10_000
# The columns that a record is made of, and nothing rendered.
BARE_PAGE = """
select epoch, xid::text as xid, gp, partition, event_id::text, stream_id::text,
       partition_key::text, type, version, data
from log l where sequence is null and topic is not null
  and (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
order by l.epoch, l.xid, l.gp limit $4
"""


async def fill_own(pool: asyncpg.Pool, events: int) -> None:
    """Own purchases that nobody has sent."""
    async with pool.acquire() as connection:
        await connection.execute("set transaction_timeout = 0; set statement_timeout = 0")
        await draw(connection, CUSTOMERS)
        await add_events(connection, 1, events, CUSTOMERS, heard=False)
        await connection.execute("vacuum (analyze) log", timeout=120)
        await connection.execute("reset transaction_timeout; reset statement_timeout")


def relay_of(bench: Bench, pool: asyncpg.Pool) -> Relay:
    return Relay(
        pool=pool,
        contract=CONTRACT,
        service="contacts",
        bootstrap=bench.kafka,
        replication_factor=1,
        min_insync=1,
        lease=Leads(),
        wake=asyncio.Event(),
        clock=utc_now,
    )


async def in_topic(bench: Bench) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=bench.kafka)
    await consumer.start()
    try:
        places = [TopicPartition(PURCHASES.name, n) for n in range(PURCHASES.partitions)]
        return sum((await consumer.end_offsets(places)).values())
    finally:
        await consumer.stop()


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    events = bench.size(EVENTS, quick=QUICK_EVENTS)

    async def kith() -> Run:
        await drop_topics(bench.kafka)
        async with contacts_on(bench) as placed:
            relay = relay_of(bench, placed.core.pool)
            await relay.turn()  # makes the topics
            await fill_own(placed.core.pool, events)
            async with bench.timed() as timed:
                while await relay.turn():
                    pass
            await relay.close()
            sent = await in_topic(bench)
        return timed.run("kith", "Relay", events=events, correct=sent == events)

    async def bare() -> Run:
        await drop_topics(bench.kafka)
        async with contacts_on(bench) as placed:
            relay = relay_of(bench, placed.core.pool)
            await relay.turn()
            await relay.close()
            await fill_own(placed.core.pool, events)
            producer = AIOKafkaProducer(
                bootstrap_servers=bench.kafka,
                enable_idempotence=True,
                acks="all",
                max_batch_size=BATCH_BYTES,
                max_request_size=BATCH_BYTES,
            )
            await producer.start()
            async with bench.timed() as timed:
                await send_bare(placed.core.pool, producer)
            await producer.stop()
            sent = await in_topic(bench)
        return timed.run("ceiling", "bare drivers", events=events, correct=sent == events)

    yield kith, bare


async def send_bare(pool: asyncpg.Pool, producer: AIOKafkaProducer) -> None:
    """Read a page, batch it by partition with eleven headers, send it, read the next."""
    at = (0, "0", 0)
    while rows := await pool.fetch(BARE_PAGE, *at, PAGE_ROWS):
        batches = defaultdict(producer.create_batch)
        for _, _, gp, partition, event_id, stream_id, key, kind, version, data in rows:
            headers = [
                ("ce_specversion", b"1.0"), ("content-type", b"application/json"),
                ("ce_type", kind.encode()), ("ce_dataschema", kind.encode()),
                ("ce_source", b"/crm/contacts"), ("ce_id", event_id.encode()),
                ("ce_time", b"2026-01-01T00:00:00.000000Z"),
                ("ce_recordedtime", b"2026-01-01T00:00:00.000000Z"),
                ("ce_subject", stream_id.encode()), ("ce_streamversion", b"%d" % version),
                ("ce_sequence", b"%d" % gp),
            ]  # fmt: skip
            batches[partition].append(
                timestamp=None, key=key.encode(), value=data.encode(), headers=headers
            )
        sent = [
            await producer.send_batch(batch, PURCHASES.name, partition=partition)
            for partition, batch in batches.items()
        ]
        for answer in sent:
            await answer
        at = (rows[-1]["epoch"], rows[-1]["xid"], rows[-1]["gp"])


ROWS = (
    Row(
        "relay",
        does="log to Kafka, every answer checked, the position moved by compare-and-set",
        contestants=contestants,
        bars=(at_least(70_000, "records/s"), of_ceiling(0.7)),
        unit="records/s",
        reference="prototype 77k with headers",
        keys="Zipf",
        promises={
            "Relay": "in order per partition, numbered by the log, resumes after a crash",
            "bare drivers": "reads, batches and sends; no numbers, no position",
        },
    ),
)
