"""Which events a topic's copies hold: ids, order and numbers of each partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from crm_events.topics import Topic

Copy = dict[int, list[tuple[str, int]]]
"""By partition: event id and number of each, in the order in which they lie there."""

AT_ONCE: Final = 5_000
POLL_MS: Final = 1_000
OWN: Final = """
select partition, event_id::text from log where topic = $1 and sequence is null
order by epoch, xid, gp
"""
HEARD: Final = """
select partition, event_id::text, sequence from log where topic = $1 and sequence is not null
order by epoch, xid, gp
"""


async def owed(url: str, topic: Topic) -> Copy:
    """What a publisher's log says that the topic must hold: each partition numbered from 1."""
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for partition, event_id in await _rows(url, OWN, topic):
        found[partition].append((event_id, len(found[partition]) + 1))
    return dict(found)


async def heard(url: str, topic: Topic) -> Copy:
    """What a subscriber's log holds of it."""
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for partition, event_id, sequence in await _rows(url, HEARD, topic):
        found[partition].append((event_id, sequence))
    return dict(found)


async def in_kafka(bootstrap: str, topic: Topic) -> Copy:
    """What the topic holds, by the headers of its records."""
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)
    places = [TopicPartition(topic.name, n) for n in range(topic.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        left = sum((await consumer.end_offsets(places)).values())
        while left > 0:
            polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
            for place, records in polled.items():
                for record in records:
                    told = dict(record.headers)
                    number = int(told["ce_sequence"])
                    found[place.partition].append((told["ce_id"].decode(), number))
                left -= len(records)
    finally:
        await consumer.stop()
    return dict(found)


def ids(copy: Mapping[int, Iterable[tuple[str, int]]]) -> dict[int, list[str]]:
    """Without the numbers, for what numbers nothing."""
    return {partition: [one for one, _ in these] for partition, these in copy.items()}


async def _rows(url: str, sql: str, topic: Topic) -> Sequence[asyncpg.Record]:
    """Without the limits of a service's sessions: a whole log is read."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql, topic.name)
    finally:
        await connection.close()
