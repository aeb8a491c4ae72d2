"""The marks: how far each topic partition was taken, kept beside the rows that were taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from crm_kafka.inbox.admission import Mark

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import asyncpg

# History is what lay there before this service first took the partition up.
TAKE_UP: Final = """
insert into inbox_mark (topic, partition, sequence, event_id, kafka_offset, history_until)
select u.topic, u.partition, 0, null, -1, u.history_until
from unnest($1::text[], $2::int[], $3::bigint[]) as u(topic, partition, history_until)
order by u.topic, u.partition
on conflict (topic, partition) do nothing
"""
READ: Final = """
select m.topic, m.partition, m.sequence, m.event_id::text as event_id, m.kafka_offset,
       m.history_until
from inbox_mark m
join unnest($1::text[], $2::int[]) as u(topic, partition) using (topic, partition)
"""


async def read_marks(
    pool: asyncpg.Pool, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Mark]:
    """The marks of those partitions that were ever taken up, in a transaction of its own."""
    rows = await pool.fetch(READ, *_columns(partitions))
    return {
        TopicPartition(row["topic"], row["partition"]): Mark(
            row["sequence"], row["event_id"], row["kafka_offset"], row["history_until"]
        )
        for row in rows
    }


async def take_up(pool: asyncpg.Pool, ends: Mapping[TopicPartition, int]) -> None:
    """Begin the marks of partitions that have none; what lies below their end is history."""
    await pool.execute(TAKE_UP, *_columns(ends), list(ends.values()))


def _columns(partitions: Collection[TopicPartition]) -> tuple[list[str], list[int]]:
    return [each.topic for each in partitions], [each.partition for each in partitions]
