"""contacts.purchases, as those see it who run Kafka: what it holds, what is taken of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.fault.process import Process
    from tests.fault.world import World

TOPIC: Final = "contacts.purchases"
PARTITIONS: Final = 12
SOON_SECONDS: Final = 60.0
OFFSETS: Final = """
select partition, kafka_offset from relay_sequence where topic = $1 and kafka_offset >= 0
"""
SENT: Final = "select partition, sequence from relay_sequence where topic = $1"
MARKS: Final = "select partition, sequence from inbox_mark where topic = $1"
MARK_OFFSET: Final = "select kafka_offset from inbox_mark where topic = $1 and partition = $2"
LOOKS: Final = 3
BETWEEN: Final = 100
SENDING_AGAIN: Final = "select count(*) from relay_position where name <> 'main'"


async def delete_topic(world: World) -> None:
    """Delete it; whoever publishes to it makes it anew."""
    async with world.admin() as admin:
        await admin.delete_topics([TOPIC])
        for _ in range(100):
            if TOPIC not in await admin.list_topics():
                break
            await asyncio.sleep(0.05)
    world.notes.made_anew.add(TOPIC)
    world.timeline.note(f"{TOPIC} deleted")


async def there(world: World) -> bool:
    """Has Kafka this topic?"""
    async with world.admin() as admin:
        return TOPIC in await admin.list_topics()


async def delete_before(world: World, ends: dict[TopicPartition, int]) -> None:
    """Cut partitions: the records below these offsets are gone."""
    async with world.admin() as admin:
        await admin.delete_records(
            {tp: RecordsToDelete(before_offset=end) for tp, end in ends.items()}
        )
    cut = ", ".join(f"{tp.partition} below {end}" for tp, end in sorted(ends.items()))
    world.timeline.note(f"{TOPIC} cut: {cut}")


async def ends(world: World) -> dict[TopicPartition, int]:
    """The offset behind the last record of each partition."""
    async with world.database("contacts") as connection:
        rows = await connection.fetch(OFFSETS, TOPIC)
    return {TopicPartition(TOPIC, partition): offset + 1 for partition, offset in rows}


async def records(world: World) -> int:
    """How many the topic has been sent since it was made, as its end offsets say."""
    async with consumer(world) as reader:
        places = [TopicPartition(TOPIC, n) for n in range(PARTITIONS)]
        return sum((await reader.end_offsets(places)).values())


async def first_times(world: World) -> dict[TopicPartition, int]:
    """When the first record of each partition was made, in milliseconds of Kafka's."""
    async with consumer(world) as reader:
        places = {TopicPartition(TOPIC, n): 0 for n in range(PARTITIONS)}
        found = await reader.offsets_for_times(places)
    return {place: first.timestamp for place, first in found.items() if first is not None}


async def sent(world: World) -> dict[int, int]:
    """The last number that was sent, by partition."""
    async with world.database("contacts") as contacts:
        return dict(await contacts.fetch(SENT, TOPIC))


async def heard(world: World) -> dict[int, int]:
    """The last number that analytics has taken, by partition."""
    async with world.database("analytics") as analytics:
        return dict(await analytics.fetch(MARKS, TOPIC))


async def unreadable(world: World) -> float:
    """How many records without a readable number analytics' workers have met."""
    outcome = "unreadable"
    told = [
        await member.metric("kith_inbox_records_total", topic=TOPIC, outcome=outcome)
        for member in world.members
    ]
    return sum(told)


async def told_of(world: World, metric: str) -> dict[int, Process]:
    """The partitions of which a gauge of some worker of analytics is 1, and whose it is."""
    return {
        int(sample.labels["partition"]): member
        for member in world.members
        for sample in await member.samples(metric, topic=TOPIC)
        if sample.value
    }


async def one_stands(world: World, partition: int) -> None:
    """See that the others go on, and this one does not."""
    for _ in range(LOOKS):
        there = await sent(world)
        await world.acknowledged(BETWEEN)

        async def stands(there: dict[int, int] = there) -> bool:
            taken = await heard(world)
            return {n for n in there if taken.get(n, 0) < there[n]} == {partition}

        await world.until(stands, within_seconds=SOON_SECONDS, what="one that stands, alone")


async def last(world: World, place: TopicPartition) -> ConsumerRecord[bytes, bytes]:
    """The last record of a partition."""
    async with consumer(world) as reader:
        end = (await reader.end_offsets([place]))[place]
        return (await _from(reader, place, end - 1))[-1]


async def behind_the_mark(
    world: World, place: TopicPartition
) -> list[ConsumerRecord[bytes, bytes]]:
    """The records of a partition that analytics has not taken, if it has taken any."""
    async with world.database("analytics") as analytics:
        offset = await analytics.fetchval(MARK_OFFSET, place.topic, place.partition)
    async with consumer(world) as reader:
        return await _from(reader, place, offset + 1)


async def _from(
    reader: AIOKafkaConsumer, place: TopicPartition, offset: int
) -> list[ConsumerRecord[bytes, bytes]]:
    """All records of a partition from an offset on, to where it ends now."""
    reader.assign([place])
    end = (await reader.end_offsets([place]))[place]
    reader.seek(place, offset)
    found: list[ConsumerRecord[bytes, bytes]] = []
    while await reader.position(place) < end:
        for records in (await reader.getmany(timeout_ms=500)).values():
            found += records
    return found


async def send(
    world: World, place: TopicPartition, records: Sequence[ConsumerRecord[bytes, bytes]]
) -> int:
    """Write such records to a partition, past every relay; the offset of the last one."""
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap, acks="all")
    await producer.start()
    try:
        for one in records:
            written = await producer.send_and_wait(
                place.topic, one.value, one.key, place.partition, headers=list(one.headers)
            )
    finally:
        await producer.stop()
    world.timeline.note(f"{len(records)} records written to {place.topic}/{place.partition}")
    return int(written.offset)


def with_header(
    record: ConsumerRecord[bytes, bytes], name: str, content: bytes
) -> ConsumerRecord[bytes, bytes]:
    """The same record with another content of one header."""
    headers = [(key, content if key == name else value) for key, value in record.headers]
    return replace(record, headers=tuple(headers))


async def sent_all(world: World) -> None:
    """Wait until no topic is being sent once more and little is owed."""

    async def is_sent() -> bool:
        async with world.database("contacts") as connection:
            return not await connection.fetchval(SENDING_AGAIN)

    await world.until(is_sent, within_seconds=SOON_SECONDS, what="the end of sending again")


@asynccontextmanager
async def consumer(world: World) -> AsyncGenerator[AIOKafkaConsumer]:
    """A reader of its own, in no group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=world.bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
