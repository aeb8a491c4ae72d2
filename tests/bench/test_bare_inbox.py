from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from aiokafka import ConsumerRecord, TopicPartition
from crm_events.codec import to_record
from crm_events.contacts import OrderCompleted
from crm_events.envelope import Recorded
from crm_events.topics import PURCHASES
from crm_kafka.inbox import taking
from crm_kafka.inbox.admission import Mark
from crm_kafka.inbox.rows import hear, row_of

from tests.bench.bare_inbox import arguments

AT = datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC)


def record(partition, sequence):
    key, value, headers = to_record(
        Recorded(
            event_id=UUID(int=partition * 1_000 + sequence, version=4),
            type=OrderCompleted.type,
            schema_version=OrderCompleted.version,
            stream_id=UUID(int=sequence, version=5),
            stream_version=1,
            partition_key=UUID(int=partition, version=4),
            occurred_at=AT,
            recorded_at=AT,
            data=f'{{"n":{sequence}}}',
            sequence=sequence,
        ),
        publisher="contacts",
    )
    return ConsumerRecord(
        topic=PURCHASES.name, partition=partition, offset=sequence + 4, timestamp=0,
        timestamp_type=0, key=key, value=value, checksum=None, serialized_key_size=len(key),
        serialized_value_size=len(value), headers=tuple(headers),
    )  # fmt: skip


def plainly(given):
    return [list(one) if isinstance(one, (list, tuple)) else one for one in given]


def test_the_bare_statement_is_given_what_the_inbox_gives_it():
    polled = {
        TopicPartition(PURCHASES.name, partition): [record(partition, n) for n in numbers]
        for partition, numbers in ((3, (8, 9, 10)), (0, (1, 2)))
    }
    known = str(UUID(int=3_007, version=4))
    marks = {
        TopicPartition(PURCHASES.name, 0): (0, None),
        TopicPartition(PURCHASES.name, 3): (7, known),
    }
    records = [one for these in polled.values() for one in these]
    before = {place: Mark(*mark, offset=0) for place, mark in marks.items()}
    batch = taking.Batch.of(records, [row_of(hear(one)) for one in records], before)

    given = arguments(polled, marks)

    assert plainly(given) == plainly(taking.arguments_of(batch))
    assert marks[TopicPartition(PURCHASES.name, 3)] == (10, str(UUID(int=3_010, version=4)))
