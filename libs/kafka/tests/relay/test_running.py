"""The relay's loop: it leads by lease, outlives Kafka and its producers, and ends when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from crm_kafka.relay.progress import load
from crm_kafka.relay.publisher import Publisher
from crm_kafka.relay.relay import Relay
from crm_kafka.topics import WrongTopicError
from crm_stack.stack import Stack
from crm_store import metrics
from relaying import Leads, Rows, filled, heard, taken


class Waits(Leads):
    """A lease that another process holds until `taken`."""

    held = False

    def __init__(self) -> None:
        self.taken = asyncio.Event()
        self.asked = asyncio.Event()

    async def wait_held(self, _seconds: float) -> bool:
        self.asked.set()
        await self.taken.wait()
        return True


async def test_what_is_owed_is_published_when_kafka_is_back(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, stack: Stack, kafka: str, rows: Rows
) -> None:
    beats = Beats()
    async with running(relay_of(rows.topic), beats):
        await rows.write(2_500)
        await sent(pool, rows.count)
        stack.kafka.kill()
        await rows.write(2_500)
        await beats.more(5)
        owed = metrics.RELAY_AGE_SECONDS._value.get()
        await asyncio.to_thread(stack.kafka.start)
        await sent(pool, rows.count)

    assert owed > 0
    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)


async def test_a_relay_starts_before_kafka_does(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, stack: Stack, kafka: str, rows: Rows
) -> None:
    stack.kafka.kill()
    beats = Beats()
    async with running(relay_of(rows.topic), beats):
        await rows.write(10)
        await beats.more(3)
        await asyncio.to_thread(stack.kafka.start)
        await sent(pool, rows.count)

    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)


async def test_a_producer_that_cannot_go_on_is_replaced(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    before = metrics.RELAY_REBUILT_PRODUCERS._value.get()
    relay = relay_of(rows.topic)
    async with running(relay):
        await rows.write(1_000)
        await sent(pool, rows.count)
        numbers = producer_of(relay)._txn_manager._sequence_numbers
        for place in numbers:
            numbers[place] += 7  # Kafka answers OutOfOrderSequenceNumber
        await rows.write(1_000)
        await sent(pool, rows.count)

    assert metrics.RELAY_REBUILT_PRODUCERS._value.get() > before
    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)


async def test_a_producer_given_up_leaves_nothing_running(
    relay_of: Callable[..., Relay], stack: Stack, kafka: str, rows: Rows
) -> None:
    relay = relay_of(rows.topic)
    await rows.write(100)
    await relay.turn()
    await rows.write(100)
    parcel = await relay.number(await relay.read_page())
    stack.kafka.pause()
    sending = asyncio.create_task(relay.send(parcel))
    await asyncio.wait({sending}, timeout=0.2)

    sending.cancel()
    await asyncio.wait({sending})
    await relay.close()

    assert sending.cancelled()
    stack.kafka.resume()
    assert {task for task in asyncio.all_tasks() if "aiokafka" in repr(task)} == set()


async def test_told_to_end_while_kafka_is_away_it_ends_and_the_rows_stay_owed(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, stack: Stack, kafka: str, rows: Rows
) -> None:
    beats = Beats()
    async with running(relay_of(rows.topic), beats):
        await rows.write(100)
        await sent(pool, rows.count)
        stack.kafka.pause()
        await rows.write(100)
        await beats.more(3)
    stack.kafka.resume()
    owed = rows.count - sum((await load(pool)).sequences.values())
    async with running(relay_of(rows.topic)):
        await sent(pool, rows.count)

    assert owed == 100
    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)


async def test_a_relay_without_the_lease_sends_nothing(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    lease = Waits()
    await rows.write(10)
    async with running(relay_of(rows.topic, lease=lease)):
        await lease.asked.wait()
        before = (await load(pool)).sequences
        lease.taken.set()
        await sent(pool, rows.count)

    assert before == {}
    assert len(await heard(kafka, rows.topic)) == 10


async def test_a_topic_with_another_partition_count_is_refused_by_name(
    relay_of: Callable[..., Relay], kafka: str, rows: Rows
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(rows.topic.name, 3, 1)])
    await admin.close()

    with pytest.raises(WrongTopicError, match=rows.topic.name):
        await relay_of(rows.topic).run(asyncio.Event(), beat=lambda: None)


class Beats:
    """Counts the signs of life of a loop."""

    def __init__(self) -> None:
        self._beats: asyncio.Queue[None] = asyncio.Queue()

    def __call__(self) -> None:
        self._beats.put_nowait(None)

    async def more(self, count: int) -> None:
        """Wait for so many from now on."""
        while not self._beats.empty():
            self._beats.get_nowait()
        for _ in range(count):
            async with asyncio.timeout(60):
                await self._beats.get()


@asynccontextmanager
async def running(relay: Relay, beat: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """The loop of a relay, for as long as the block lasts; it must end by itself then."""
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop, beat=beat))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await task


async def sent(pool: asyncpg.Pool, count: int) -> None:
    """Wait until the database says that so many records are in Kafka."""
    async with asyncio.timeout(60):
        while sum((await load(pool)).sequences.values()) < count:
            await asyncio.sleep(0.02)


def producer_of(relay: Relay):
    publisher: Publisher = relay._publisher
    return publisher._producer
