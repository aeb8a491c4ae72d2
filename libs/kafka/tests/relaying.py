"""Rows that are owed to Kafka, and what is heard of them there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from crm_events.topics import Topic
from crm_kafka.relay.relay import Relay
from crm_store.ids import new_id
from crm_store.partitioning import partition_of
from probe import AT, Counted

INSERT = """
insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                 partition_key, occurred_at, topic, partition, data)
select 1, $1, u.id, 1, u.id, u.type, 1, u.key, $1, $2, u.part, u.data::json
from unnest($3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::text[]) with ordinality
    as u(id, key, part, type, data, n)
order by u.n
"""


class Leads:
    """The relay's lease, always held."""

    held = True

    async def wait_held(self, _seconds: float) -> bool:
        return True


@dataclass(frozen=True)
class Heard:
    """A record as a reader of the topic meets it."""

    partition: int
    offset: int
    sequence: int
    event_id: UUID
    kind: str


class Rows:
    """The rows of one topic, in log order, as far as this test wrote them."""

    def __init__(self, pool: asyncpg.Pool, topic: Topic) -> None:
        self.pool = pool
        self.topic = topic
        self.written: dict[int, list[UUID]] = {p: [] for p in range(topic.partitions)}

    async def write(
        self,
        count: int,
        *,
        types: Sequence[str] = (Counted.type,),
        data: str = '{"number": 1}',
        keys: Sequence[UUID] = (),
        connection: asyncpg.Connection | None = None,
    ) -> None:
        """Append `count` rows in one statement; types and keys are taken in turn."""
        ids = [new_id() for _ in range(count)]
        customers = [keys[n % len(keys)] if keys else new_id() for n in range(count)]
        partitions = [partition_of(key, self.topic.partitions) for key in customers]
        kinds = [types[n % len(types)] for n in range(count)]
        await (connection or self.pool).execute(
            INSERT, AT, self.topic.name, ids, customers, partitions, kinds, [data] * count
        )
        for partition, event_id in zip(partitions, ids, strict=True):
            self.written[partition].append(event_id)

    @property
    def count(self) -> int:
        return sum(len(ids) for ids in self.written.values())


async def send_all(relay: Relay) -> None:
    """Turn until nothing is owed."""
    while await relay.turn():
        pass


async def heard(kafka: str, topic: Topic) -> list[Heard]:
    """Every record of the topic, up to where it ends now, by partition and offset."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4_194_304,
    )
    places = [TopicPartition(topic.name, p) for p in range(topic.partitions)]
    await consumer.start()
    try:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        records = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
    finally:
        await consumer.stop()
    told = [(record, dict(record.headers)) for record in records]
    return sorted(
        (
            Heard(
                record.partition,
                record.offset,
                int(headers["ce_sequence"]),
                UUID(headers["ce_id"].decode()),
                headers["ce_type"].decode(),
            )
            for record, headers in told
        ),
        key=lambda one: (one.partition, one.offset),
    )


def taken(records: Iterable[Heard]) -> dict[int, list[UUID]]:
    """What a reader keeps: of each partition exactly the next number, others dropped.

    Fails where one number stands for two events, or one event bears two numbers.
    """
    numbers: dict[tuple[int, int], UUID] = {}
    kept: dict[int, list[UUID]] = {}
    for one in records:
        assert numbers.setdefault((one.partition, one.sequence), one.event_id) == one.event_id
        partition = kept.setdefault(one.partition, [])
        if one.sequence == len(partition) + 1:
            partition.append(one.event_id)
    assert len(set(numbers.values())) == len(numbers)
    return kept


def filled(written: dict[int, list[UUID]]) -> dict[int, list[UUID]]:
    return {partition: ids for partition, ids in written.items() if ids}
