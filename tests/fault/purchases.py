"""contacts.purchases, as those see it who run Kafka: what it holds, what is taken of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.fault.world import World

TOPIC: Final = "contacts.purchases"
PARTITIONS: Final = 12
SOON_SECONDS: Final = 60.0
OFFSETS: Final = """
select partition, kafka_offset from relay_sequence where topic = $1 and kafka_offset >= 0
"""
SENT: Final = "select partition, sequence from relay_sequence where topic = $1"
MARKS: Final = "select partition, sequence from inbox_mark where topic = $1"
SENDING_AGAIN: Final = "select count(*) from relay_position where name <> 'main'"


async def delete_topic(world: World) -> None:
    """Delete it; whoever publishes to it makes it anew."""
    admin = await _admin(world)
    try:
        await admin.delete_topics([TOPIC])
        for _ in range(100):
            if TOPIC not in await admin.list_topics():
                break
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    world.notes.made_anew.add(TOPIC)


async def there(world: World) -> bool:
    """Has Kafka this topic?"""
    admin = await _admin(world)
    try:
        return TOPIC in await admin.list_topics()
    finally:
        await admin.close()


async def delete_before(world: World, ends: dict[TopicPartition, int]) -> None:
    """Cut partitions: the records below these offsets are gone."""
    admin = await _admin(world)
    try:
        await admin.delete_records(
            {tp: RecordsToDelete(before_offset=end) for tp, end in ends.items()}
        )
    finally:
        await admin.close()


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


async def sent_all(world: World) -> None:
    """Wait until no topic is being sent once more and little is owed."""

    async def is_sent() -> bool:
        async with world.database("contacts") as connection:
            return not await connection.fetchval(SENDING_AGAIN)

    await world.until(is_sent, within_seconds=SOON_SECONDS, what="the end of sending again")


@asynccontextmanager
async def consumer(world: World) -> AsyncGenerator[AIOKafkaConsumer]:
    """A reader of its own, in no group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=world.kafka.bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _admin(world: World) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap)
    await admin.start()
    return admin
