"""Log to Kafka: records a second by the relay, beside the same batches by the bare drivers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from aiokafka import AIOKafkaProducer
from crm_events.topics import CONTRACT, PURCHASES
from crm_kafka.producer import BATCH_BYTES
from crm_kafka.relay.page import PAGE_ROWS
from crm_kafka.relay.relay import Relay
from crm_kafka.restore.settling import Settling
from crm_store.clock import utc_now

from tests.bench.bench import Bench
from tests.bench.copies import ids, in_kafka, owed
from tests.bench.filled import add_events, draw
from tests.bench.load import CUSTOMERS, Keys
from tests.bench.product import Leads, contacts_on
from tests.bench.row import Contestant, Contestants, Row, Run, at_least, of_ceiling
from tests.bench.topics import drop_topics

EVENTS = 200_000
QUICK_EVENTS = 10_000
UNIQUE_KEYS = "update log l set partition_key = gen_random_uuid()"
SETTINGS = {
    "rows a page": PAGE_ROWS,
    "partitions": PURCHASES.partitions,
    "bytes a batch at most": BATCH_BYTES,
    "acks": "all",
    "idempotent": True,
}
# The columns that a record is made of, and nothing rendered.
BARE_PAGE = """
select epoch, xid::text as xid, gp, partition, event_id::text, stream_id::text,
       partition_key::text, type, version, data
from log l where sequence is null and topic is not null
  and (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
order by l.epoch, l.xid, l.gp limit $4
"""


async def fill_own(pool: asyncpg.Pool, events: int, keys: Keys = "Zipf") -> None:
    """Own purchases that nobody has sent; unique keys are of no partition in particular."""
    async with pool.acquire() as connection:
        await connection.execute("set transaction_timeout = 0; set statement_timeout = 0")
        await draw(connection, CUSTOMERS)
        await add_events(connection, 1, events, CUSTOMERS, heard=False)
        if keys == "unique":
            await connection.execute(UNIQUE_KEYS, timeout=120)
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
        settled=Settling(
            pool=pool, contract=CONTRACT, service="contacts", bootstrap=bench.kafka
        ).settled,
    )


def contestants(keys: Keys) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = bench.size(EVENTS, quick=QUICK_EVENTS)

        async def kith() -> Run:
            await drop_topics(bench.kafka)
            async with contacts_on(bench) as placed:
                relay = relay_of(bench, placed.core.pool)
                await relay.turn()  # makes the topics
                await fill_own(placed.core.pool, events, keys)
                async with bench.timed() as timed:
                    while await relay.turn():
                        pass
                await relay.close()
                must_hold = await owed(placed.url, PURCHASES)
            correct = await in_kafka(bench.kafka, PURCHASES) == must_hold
            return timed.run("kith", "Relay", events=events, correct=correct, settings=SETTINGS)

        async def bare() -> Run:
            await drop_topics(bench.kafka)
            async with contacts_on(bench) as placed:
                relay = relay_of(bench, placed.core.pool)
                await relay.turn()
                await relay.close()
                await fill_own(placed.core.pool, events, keys)
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
                must_hold = ids(await owed(placed.url, PURCHASES))
            correct = ids(await in_kafka(bench.kafka, PURCHASES)) == must_hold
            return timed.run(
                "ceiling", "bare drivers", events=events, correct=correct, settings=SETTINGS
            )

        yield kith, bare

    return opened


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


ROWS = tuple(
    Row(
        name,
        does="log to Kafka, every answer checked, the position moved by compare-and-set",
        contestants=contestants(keys),
        bars=(*bars, of_ceiling(0.7)),
        unit="records/s",
        reference="prototype 77k with headers",
        keys=said,
        promises={
            "Relay": "in order per partition, numbered by the log, resumes after a crash",
            "bare drivers": "reads, batches and sends; no numbers, no position",
        },
    )
    for name, keys, said, bars in (
        ("relay", "Zipf", "Zipf", (at_least(70_000, "records/s"),)),
        ("relay.unique", "unique", "every event its own customer", ()),
    )
)
