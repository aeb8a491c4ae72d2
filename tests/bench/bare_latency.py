"""The least that a commit takes to be seen: the same steps by the bare drivers, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from crm_events.contacts import OrderCompleted
from crm_events.topics import PURCHASES
from crm_store.log.append import APPEND_FACTS
from crm_store.log.position import LAST, START, bounds
from crm_store.log.tail import PAGE, position_of

from tests.bench.bench import Bench
from tests.bench.checkpoint import register
from tests.bench.load import Sample
from tests.bench.product import analytics_on, contacts_on, order
from tests.bench.rows.facts import arguments
from tests.bench.topics import drop_topics

PAGE_ROWS = 5_000
POLL_MS = 100
OCCURRED_AT = datetime(2026, 1, 1, tzinfo=UTC)
# Model and checkpoint in one statement, as a fold writes them.
SHOW_OWN = """
with moved as (
    update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3
    where name = $4 returning 1)
insert into timeline_entry (customer_id, occurred_at, event_id, type, detail)
select u.customer_id, u.occurred_at, u.event_id, 'contacts.purchase.completed', '{}'
from unnest($5::uuid[], $6::timestamptz[], $7::uuid[]) as u(customer_id, occurred_at, event_id)
"""
HEAR = """
insert into log (heard_at, epoch, topic, type, partition, sequence, event_id, stream_id, version,
                 schema_version, partition_key, occurred_at, recorded_at, data)
select now(), 1, $1, $2, u.part, u.number, u.event_id, u.event_id, 1, 1, u.key, $3, $3, u.data::json
from unnest($4::int[], $5::bigint[], $6::uuid[], $7::uuid[], $8::text[])
    as u(part, number, event_id, key, data)
returning epoch, xid::text as xid, gp
"""
SHOW_OTHER = """
with moved as (
    update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3
    where name = $4 returning 1)
insert into engagement (model_id, customer_id, counted)
select 1, u.customer_id, count(*) from unnest($5::uuid[]) as u(customer_id) group by 2
on conflict (model_id, customer_id) do update set counted = engagement.counted + excluded.counted
"""


class Bare:
    """Appends by the bare driver, of what was made into arguments beforehand."""

    def __init__(self, pool: asyncpg.Pool, woken: asyncio.Event) -> None:
        self._pool = pool
        self._woken = woken
        self._made: dict[int, tuple[Any, ...]] = {}

    def prepare(self, events: Sequence[Sample], *, at_once: int) -> None:
        for first in range(0, len(events), at_once):
            batch = events[first : first + at_once]
            self._made[batch[0].number] = arguments([order(one) for one in batch])

    async def append(self, batch: Sequence[Sample]) -> None:
        await self._pool.fetch(APPEND_FACTS, *self._made[batch[0].number])
        self._woken.set()


@asynccontextmanager
async def own(bench: Bench, model: str) -> AsyncIterator[tuple[asyncpg.Pool, Bare]]:
    """An append that is read and shown by the same process."""
    async with contacts_on(bench) as placed:
        pool, woken = placed.core.pool, asyncio.Event()
        await register(pool, model)

        async with _beside(_tail(pool, woken, lambda rows: show_own(pool, model, rows))):
            yield pool, Bare(pool, woken)


async def show_own(pool: asyncpg.Pool, model: str, rows: Sequence[asyncpg.Record]) -> None:
    """An entry for each of a page's rows, and the checkpoint at its end."""
    at = position_of(rows[-1])
    await pool.execute(
        SHOW_OWN, at.epoch, str(at.xid), at.gp, model,
        [row["partition_key"] for row in rows], [row["occurred_at"] for row in rows],
        [row["event_id"] for row in rows],
    )  # fmt: skip


@asynccontextmanager
async def other(bench: Bench, model: str) -> AsyncIterator[tuple[asyncpg.Pool, Bare]]:
    """An append that goes through Kafka into another database, and is shown there."""
    await _make_topic(bench.kafka)
    async with (
        contacts_on(bench) as contacts,
        analytics_on(bench) as analytics,
        _producer(bench.kafka) as producer,
        _consumer(bench.kafka) as consumer,
    ):
        there, woken = analytics.core.pool, asyncio.Event()
        await register(there, model)
        relayed = _tail(contacts.core.pool, woken, lambda rows: _publish(producer, rows))
        async with _beside(relayed), _beside(_hear(there, consumer, model)):
            yield there, Bare(contacts.core.pool, woken)


async def _tail(
    pool: asyncpg.Pool,
    woken: asyncio.Event,
    pass_on: Callable[[Sequence[asyncpg.Record]], Awaitable[None]],
) -> None:
    at = START
    while True:
        await woken.wait()
        woken.clear()
        while rows := await pool.fetch(PAGE, *bounds(at, LAST), PAGE_ROWS, [OrderCompleted.type]):
            await pass_on(rows)
            at = position_of(rows[-1])


async def _publish(producer: AIOKafkaProducer, rows: Sequence[asyncpg.Record]) -> None:
    batches = defaultdict(producer.create_batch)
    for row in rows:
        batches[row["partition"]].append(
            timestamp=None,
            key=str(row["partition_key"]).encode(),
            value=row["data"].encode(),
            headers=[("ce_id", row["event_id"].bytes)],
        )
    sent = [
        await producer.send_batch(batch, PURCHASES.name, partition=partition)
        for partition, batch in batches.items()
    ]
    await asyncio.gather(*sent)


async def _hear(pool: asyncpg.Pool, consumer: AIOKafkaConsumer, model: str) -> None:
    while True:
        found = await consumer.getmany(timeout_ms=POLL_MS)
        records = list(itertools.chain.from_iterable(found.values()))
        if not records:
            continue
        customers = [UUID(record.key.decode()) for record in records]
        rows = await pool.fetch(HEAR, *_heard(records, customers))
        at = max(map(position_of, rows))
        await pool.execute(SHOW_OTHER, at.epoch, str(at.xid), at.gp, model, customers)


def _heard(
    records: Sequence[ConsumerRecord[bytes, bytes]], customers: Sequence[UUID]
) -> tuple[Any, ...]:
    return (
        PURCHASES.name,
        OrderCompleted.type,
        OCCURRED_AT,
        [record.partition for record in records],
        [record.offset + 1 for record in records],
        [UUID(bytes=record.headers[0][1]) for record in records],
        customers,
        [record.value.decode() for record in records],
    )


async def _make_topic(kafka: str) -> None:
    await drop_topics(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(PURCHASES.name, PURCHASES.partitions, 1)])
    finally:
        await admin.close()


@asynccontextmanager
async def _beside(loop: Awaitable[None]) -> AsyncIterator[None]:
    running = asyncio.ensure_future(loop)
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def _producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def _consumer(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(PURCHASES.name, n) for n in range(PURCHASES.partitions)])
        yield consumer
    finally:
        await consumer.stop()
