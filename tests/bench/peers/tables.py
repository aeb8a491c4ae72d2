"""Topics of the peers: events in, states out, and how far an engine has committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata

from tests.bench.load import Sample, Total, samples
from tests.bench.peers.engine import LOOK_EVERY_S, PARTITIONS, Placed, Running

LONGEST_S = 180.0
QUIET_S = 2.0


async def publish(kafka: str, topic: str, events: int) -> None:
    """The first events of the seed, keyed by customer; once, for all engines."""
    if topic in await topics(kafka):
        return
    await create(kafka, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", linger_ms=5, max_batch_size=500_000
    )
    await producer.start()
    try:
        for sample in samples(events):
            await producer.send(topic, **record(sample))
    finally:
        await producer.stop()


def record(sample: Sample) -> dict[str, object]:
    """What the producer is given of an event."""
    return {
        "value": sample.body(),
        "key": str(sample.customer_id).encode(),
        "partition": sample.customer_id.int % PARTITIONS,
    }


async def topics(kafka: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        return await admin.list_topics()
    finally:
        await admin.close()


async def create(kafka: str, topic: str, *, compact: bool = False) -> None:
    policy = {"cleanup.policy": "compact"} if compact else {"retention.ms": "-1"}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=policy)])
    finally:
        await admin.close()


async def durable(
    kafka: str, placed: Placed, running: Running, events: int, *, exactly: bool
) -> float:
    """Wait until the engine has committed all of it, in its own sense; when the last of it was.

    Not `exactly`: states may come twice, so the end is when there are enough and no more come.
    """
    places = places_of(placed.topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed")
    await admin.start()
    await consumer.start()
    try:
        before, moved_at = -1, time.perf_counter()
        async with asyncio.timeout(LONGEST_S):
            while True:
                running.check()
                if placed.engine.out:
                    ends = await consumer.end_offsets(places_of(placed.table))
                    done = sum(ends.values())
                else:
                    offsets: Mapping[
                        TopicPartition, OffsetAndMetadata
                    ] = await admin.list_consumer_group_offsets(placed.group, partitions=places)
                    done = sum(max(one.offset, 0) for one in offsets.values())
                now = time.perf_counter()
                before, moved_at = done, now if done != before else moved_at
                if done >= events and (exactly or now - moved_at > QUIET_S):
                    return moved_at
                await asyncio.sleep(LOOK_EVERY_S)
    finally:
        await consumer.stop()
        await admin.close()


async def last_states(kafka: str, placed: Placed) -> dict[UUID, Total]:
    """Count and cents of each customer, as a reader of committed records sees them last."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed")
    await consumer.start()
    try:
        places = places_of(placed.table)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: dict[UUID, Total] = {}
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for one in records:
                    told = one.value and placed.engine.decode(one.key, one.value)
                    if told:
                        found[told[0]] = told[1]
        return found
    finally:
        await consumer.stop()


def places_of(topic: str) -> list[TopicPartition]:
    """All partitions of a topic of the peers."""
    return [TopicPartition(topic, n) for n in range(PARTITIONS)]
