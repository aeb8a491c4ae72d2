"""What the relay sends is, to the byte, what the contract's codec makes of the event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from crm_events.codec import to_record
from crm_events.envelope import Recorded
from crm_events.topics import Topic
from crm_kafka.relay.relay import Relay
from crm_store.ids import new_id
from crm_store.partitioning import partition_of
from relaying import send_all

INSERT = """
insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                 partition_key, occurred_at, topic, partition, data, meta)
values (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("data", "meta"),
    [
        ('{"number": 1}', {}),
        ('{"number":1.10,  "b": "\\u00e9 \U0001f600 é", "a": 1e2}', {"traceparent": TRACE}),
        (
            "{}",
            {"traceparent": TRACE, "causationid": "one", "correlationid": "other", "depth": "3"},
        ),
    ],
)
@pytest.mark.parametrize(
    "occurred_at",
    [
        datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
        datetime(1994, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 1, UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    ],
)
async def test_a_row_becomes_the_record_of_the_codec(
    relay_of: Callable[..., Relay],
    pool: asyncpg.Pool,
    kafka: str,
    topic: Topic,
    *,
    data: str,
    meta: dict[str, str],
    occurred_at: datetime,
) -> None:
    key = new_id()
    partition = partition_of(key, topic.partitions)
    event = Recorded(
        event_id=new_id(),
        type="probe.thing.counted",
        schema_version=12,
        stream_id=new_id(),
        stream_version=345,
        partition_key=key,
        occurred_at=occurred_at,
        recorded_at=datetime(2026, 7, 8, 9, 10, 11, 120_000, UTC),
        data=data,
        topic=topic.name,
        partition=partition,
        sequence=1,
        meta=meta,
    )
    await pool.execute(
        INSERT, event.recorded_at, event.stream_id, event.stream_version, event.event_id,
        event.type, event.schema_version, key, event.occurred_at, topic.name, partition,
        event.data, orjson.dumps(meta).decode() if meta else None,
    )  # fmt: skip

    await send_all(relay_of(topic))

    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic.name, partition)])
    record = await consumer.getone()
    await consumer.stop()
    heard = (record.key, record.value, list(record.headers))
    assert heard == to_record(event, publisher="probe")
    assert record.timestamp == int(event.recorded_at.timestamp() * 1000)
