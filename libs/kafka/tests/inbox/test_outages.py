"""An outage of PostgreSQL or Kafka stops the inbox, loses nothing, and ends by itself."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.record.util import calc_crc32c
from crm_kafka.consumer import close
from crm_kafka.inbox.consumer import (
    Assignment,
    broker_of,
    check_member,
    existing,
    member_id,
    open_consumer,
)
from crm_kafka.inbox.taking import MOST_CHARACTERS
from crm_stack.stack import Stack
from crm_store import metrics
from crm_store.log import epochs
from faststream.kafka import KafkaBroker
from wire import PATIENCE_S, Wire, expected, message, until


@pytest.fixture(autouse=True)
def dropped_sockets() -> Iterator[None]:
    """A broker that goes while aiokafka connects leaves a socket to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@asynccontextmanager
async def joined(
    wire: Wire, group: str
) -> AsyncIterator[tuple[KafkaBroker, AIOKafkaConsumer, Assignment]]:
    """A member of a group, as the inbox opens one."""
    assignment = Assignment()
    async with (
        broker_of(wire.bootstrap) as broker,
        open_consumer(
            broker,
            [wire.topic],
            group=group,
            instance=f"{group}-0",
            assignment=assignment,
            beat=lambda: None,
            stop=asyncio.Event(),
        ) as consumer,
    ):
        yield broker, consumer, assignment


async def test_the_consumer_is_ours_to_read_and_commits_nothing_by_itself(wire: Wire) -> None:
    await wire.create()

    async with joined(wire, "contract") as (broker, consumer, assignment):
        # What the inbox relies on and FastStream or aiokafka might change.
        assert type(consumer) is AIOKafkaConsumer
        assert consumer._enable_auto_commit is False
        assert consumer._auto_offset_reset == "none"
        assert consumer._group_instance_id.startswith("contract-0.")
        assert consumer._rebalance_timeout_ms == 10_000
        assert {tp.topic for tp in assignment.partitions} == {wire.topic}
        assert len(member_id(consumer)) > 8
        assert await existing(broker, [wire.topic, "none"]) == (wire.topic,)


@pytest.mark.parametrize("ended", ["fetching", "metadata", "part in its group"])
async def test_a_consumer_whose_task_has_ended_is_told(wire: Wire, ended: str) -> None:
    await wire.create()

    async with joined(wire, "ended") as (_, consumer, assignment):
        check_member(consumer, assignment)
        task = {
            "fetching": consumer._fetcher.error_future,
            "metadata": consumer._client._sync_task,
            "part in its group": consumer._coordinator._coordination_task,
        }[ended]
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE_S)
        with pytest.raises(KafkaError, match=ended):
            check_member(consumer, assignment)


async def test_postgresql_may_go_and_come_back(wire: Wire, stack: Stack) -> None:
    await wire.create(partitions=2)
    await wire.send_numbers(range(1, 51))
    async with wire.running():
        await wire.taken_through(50)
        await asyncio.to_thread(stack.postgres.stop)
        await wire.send_numbers(range(51, 101))
        await wire.send_numbers(range(1, 101), partition=1)
        beats = wire.beats

        async def waits() -> bool:
            return wire.beats > beats + 3

        await until(waits)
        await asyncio.to_thread(stack.postgres.start)
        # Nothing is taken before the relay has seen that nothing was restored; here is none.
        beats = wire.beats
        await until(waits)
        assert await wire.heard() == expected(50)
        assert await epochs.begin(wire.pool, await epochs.newest(wire.pool))
        await wire.taken_through(100)
        await wire.taken_through(100, partition=1)

    assert await wire.heard() == expected(100)
    assert await wire.heard(1) == expected(100, 1)


async def test_sessions_that_are_ended_in_the_middle_lose_and_double_nothing(
    wire: Wire, installed: str
) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 20_001))
    ended = 0
    ending = await asyncpg.connect(installed)  # a connection of the pool may be ended itself

    async with wire.running():
        for number in range(1, 20_001, 4_000):
            await wire.taken_through(number)
            ended += await ending.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where pid <> pg_backend_pid() and datname = current_database()"
            )
        await wire.taken_through(20_000)
    await ending.close()

    assert ended > 0
    assert await wire.heard() == expected(20_000)


async def test_kafka_may_go_and_come_back(wire: Wire, stack: Stack) -> None:
    await wire.create()
    await wire.send_numbers([1, 2])
    async with wire.running():
        await wire.taken_through(2)
        await asyncio.to_thread(stack.kafka.stop)
        beats = wire.beats

        async def waits() -> bool:
            return wire.beats > beats + 3

        await until(waits)
        await asyncio.to_thread(stack.kafka.start)
        await wire.renew_producer()
        await wire.send_numbers([3, 4])
        await wire.taken_through(4)

    assert await wire.heard() == expected(4)


async def test_any_of_several_addresses_lets_an_inbox_in(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 4))

    async with wire.running(bootstrap=f"127.0.0.1:1,{wire.bootstrap}"):
        await wire.taken_through(3)

    assert await wire.heard() == expected(3)


async def test_an_inbox_starts_while_kafka_is_away(wire: Wire, stack: Stack) -> None:
    await wire.create()
    await wire.send_numbers([1, 2])
    await asyncio.to_thread(stack.kafka.stop)

    async with wire.running():
        beats = wire.beats

        async def waits() -> bool:
            return wire.beats > beats + 3

        await until(waits)
        await asyncio.to_thread(stack.kafka.start)
        await wire.taken_through(2)

    assert await wire.heard() == expected(2)
    await wire.renew_producer()


async def test_a_record_that_cannot_be_unpacked_stops_its_partition_and_no_other(
    wire: Wire,
) -> None:
    await wire.create(partitions=2)
    await wire.send_numbers([1, 2])
    builder = wire.producer.create_batch()
    key, value, headers = message(0, 3)
    assert builder.append(timestamp=1, key=key, value=value, headers=[*headers, ("name", b"")])
    # No client writes a header's name in other than UTF-8; a broker takes it.
    raw = bytearray(builder._build())
    at = raw.rindex(b"name")
    raw[at : at + 4] = b"\xff\xfe\xfd\xfc"
    raw[17:21] = calc_crc32c(memoryview(raw)[21:]).to_bytes(4, "big")
    builder._buffer = raw
    await (await wire.producer.send_batch(builder, wire.topic, partition=0))
    stopped = metrics.INBOX_STOPPED.labels(topic=wire.topic, partition="0")

    async def is_stopped() -> bool:
        return stopped._value.get() == 1

    async with wire.running():
        await until(is_stopped)
        await wire.send_numbers(range(1, 11), partition=1)
        await wire.taken_through(10, partition=1)

    assert await wire.heard(1) == expected(10, 1)
    assert await wire.heard() in ([], expected(2))


async def test_an_inbox_that_dies_anywhere_is_followed_by_one_that_goes_on(wire: Wire) -> None:
    await wire.create(partitions=3)
    for partition in range(3):
        await wire.send_numbers(range(1, 3_001), partition)

    for reached in (1, 400, 800, 1_200, 1_600, 2_000, 2_400):
        task = asyncio.create_task(wire.inbox().run(asyncio.Event(), beat=lambda: None))
        await wire.taken_through(reached, partition=reached % 3)
        while not task.done():  # before Python 3.12 `wait_for` may swallow one
            task.cancel()
            await asyncio.wait({task}, timeout=1)
    async with wire.running():
        for partition in range(3):
            await wire.taken_through(3_000, partition)

    for partition in range(3):
        assert await wire.heard(partition) == expected(3_000, partition)


async def test_large_events_go_through_in_small_statements(wire: Wire) -> None:
    await wire.create()
    large = '"' + "x" * 250_000 + '"'
    await wire.send([message(0, number, data=large) for number in range(1, 61)])

    async with wire.running():
        await wire.taken_through(60)

    assert await wire.heard() == expected(60)
    most = await wire.pool.fetchval(
        "select max(n) from (select count(*) as n from log group by xid) as of_a_statement"
    )
    assert most <= MOST_CHARACTERS // 250_000


@pytest.mark.parametrize(
    "routine", ["_fetch_requests_routine", "_md_synchronizer", "_coordination_routine"]
)
async def test_a_consumer_one_of_whose_tasks_ended_is_opened_anew(wire: Wire, routine: str) -> None:
    await wire.create()
    await wire.send_numbers([1])
    async with wire.running():
        await wire.taken_through(1)
        ended = [task for task in asyncio.all_tasks() if routine in repr(task)]
        for task in ended:
            task.cancel()

        async def opened_anew() -> bool:
            alive = [task for task in asyncio.all_tasks() if routine in repr(task)]
            return bool(alive) and not set(alive) & set(ended)

        await until(opened_anew)
        await wire.send_numbers([2])
        await wire.taken_through(2)

    assert ended
    assert await wire.heard() == expected(2)


async def test_a_cancellation_out_of_the_clients_own_end_ends_nothing_here() -> None:
    async def stop() -> None:
        cancelled = asyncio.create_task(asyncio.sleep(60))
        cancelled.cancel()
        await cancelled

    await close(stop())

    assert asyncio.current_task().cancelling() == 0
