"""The inbox's statement, its arguments made of records as they are polled; nothing is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from crm_events.contacts import OrderCompleted
from crm_events.topics import PURCHASES
from crm_kafka.inbox.rows import SEPARATOR

AT_ONCE: Final = 2_000
POLL_MS: Final = 100
PLACE: Final = """
insert into inbox_mark (topic, partition, sequence, event_id, kafka_offset, history_until)
select $1, n, 0, null, -1, 0 from generate_series(0, $2 - 1) n
"""
Polled = Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]
Marks = dict[TopicPartition, tuple[int, str | None]]
"""Number and event id of the last record of each partition that was made into arguments."""


async def place(connection: asyncpg.Connection) -> Marks:
    """Marks of a topic of which nothing was taken."""
    await connection.execute(PLACE, PURCHASES.name, PURCHASES.partitions)
    return {TopicPartition(PURCHASES.name, n): (0, None) for n in range(PURCHASES.partitions)}


async def consumer_of(bootstrap: str) -> AIOKafkaConsumer:
    """The bare consumer of all partitions, in no group, from their beginnings; it is started."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    places = [TopicPartition(PURCHASES.name, n) for n in range(PURCHASES.partitions)]
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    return consumer


def arguments(polled: Polled, marks: Marks) -> tuple[Any, ...]:
    """What the statement is given for these records; `marks` move to the last of them."""
    moves: list[tuple[Any, ...]] = []
    for place, records in sorted(polled.items()):
        headers = dict(records[-1].headers)
        after = (int(headers["ce_sequence"]), headers["ce_id"].decode())
        moves.append((*place, *marks[place], *after, records[-1].offset))
        marks[place] = after
    rows = list(chain.from_iterable(polled.values()))
    # As the relay writes them: five that are the same of all records, then these.
    columns = zip(*[[value for _, value in row.headers[5:11]] for row in rows], strict=True)
    ids, occurred, recorded, streams, versions, sequences = (
        b",".join(column).decode() for column in columns
    )
    each = _array(",".join(["1"] * len(rows)))
    return (
        *zip(*moves, strict=True), *([()] * 9),
        [PURCHASES.name], [OrderCompleted.type], each, each,
        _array(",".join([str(row.partition) for row in rows])), _array(sequences),
        ids, streams, _array(versions), each,
        b",".join([row.key for row in rows]).decode(), _array(occurred), _array(recorded),
        SEPARATOR.encode().join([row.value for row in rows]).decode(),
        SEPARATOR * (len(rows) - 1), [None] * len(moves),
    )  # fmt: skip


def _array(elements: str) -> str:
    return "{" + elements + "}"
