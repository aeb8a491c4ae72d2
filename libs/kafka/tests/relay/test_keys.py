"""Subject keys reach every service; a destroyed one stays destroyed, whoever says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from crm_kafka.key_outbox import KeyOutbox
from crm_kafka.key_reader import KeyReader
from crm_kafka.topics import WrongTopicError
from crm_store.ids import new_id
from crm_store.log import epochs
from relaying import Leads

GONE = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
async def outboxes(
    pool: asyncpg.Pool, kafka: str, topic_name: str
) -> AsyncIterator[tuple[KeyOutbox, KeyOutbox]]:
    """Two processes that both believe they lead."""
    both = [
        KeyOutbox(
            pool=pool,
            service="probe",
            bootstrap=kafka,
            replication_factor=1,
            min_insync=1,
            lease=Leads(),
            wake=asyncio.Event(),
            topic=topic_name,
        )
        for _ in range(2)
    ]
    yield both[0], both[1]
    for outbox in both:
        await outbox.close()


@pytest.fixture
def outbox(outboxes: tuple[KeyOutbox, KeyOutbox]) -> KeyOutbox:
    return outboxes[0]


@pytest.fixture
def reader(pool: asyncpg.Pool, kafka: str, topic_name: str) -> KeyReader:
    return KeyReader(pool=pool, service="probe", bootstrap=kafka, topic=topic_name)


async def test_a_key_that_was_minted_is_known_elsewhere(
    outbox: KeyOutbox, reader: KeyReader, pool: asyncpg.Pool
) -> None:
    keys = [await mint(pool) for _ in range(700)]

    while await outbox.turn():
        pass
    await pool.execute("delete from subject_key")
    await read_to_the_end(reader)

    rows = await pool.fetch("select key_id, kek_id, wrapped, unsent from subject_key")
    assert {row["key_id"] for row in rows} == set(keys)
    assert {(row["kek_id"], row["wrapped"], row["unsent"]) for row in rows} == {
        ("kek", "nonce.key", False)
    }


async def test_nothing_is_sent_twice(outbox: KeyOutbox, pool: asyncpg.Pool) -> None:
    await mint(pool)

    first, second = await outbox.turn(), await outbox.turn()

    assert (first, second) == (1, 0)


async def test_a_key_that_changes_while_it_is_sent_is_still_owed(
    outbox: KeyOutbox, reader: KeyReader, pool: asyncpg.Pool
) -> None:
    key = await mint(pool)
    await outbox.turn()
    await pool.execute("update subject_key set unsent = true")

    read = await outbox.read()
    await destroy(pool, key)
    await outbox.send(read)
    await outbox.settle(read)
    owed = await outbox.turn()

    await pool.execute("delete from subject_key")
    await read_to_the_end(reader)
    assert owed == 1
    assert await destroyed(pool, key) == GONE


async def test_an_old_key_sent_by_a_frozen_process_is_followed_by_its_end(
    outboxes: tuple[KeyOutbox, KeyOutbox], reader: KeyReader, pool: asyncpg.Pool
) -> None:
    frozen, leading = outboxes
    key = await mint(pool)
    await frozen.turn()
    await pool.execute("update subject_key set unsent = true")

    read = await frozen.read()
    await destroy(pool, key)
    await leading.turn()
    await frozen.send(read)
    await frozen.settle(read)
    owed = await leading.turn()

    assert owed == 1
    await pool.execute("delete from subject_key")
    await read_to_the_end(reader)
    assert await destroyed(pool, key) == GONE


async def test_a_destroyed_key_never_comes_back(
    outbox: KeyOutbox, reader: KeyReader, pool: asyncpg.Pool
) -> None:
    key = await mint(pool)
    await outbox.turn()
    await pool.execute("delete from subject_key")
    await pool.execute("insert into subject_key (key_id, destroyed) values ($1, $2)", key, GONE)

    await read_to_the_end(reader)

    assert await destroyed(pool, key) == GONE


async def test_a_reader_that_lives_through_a_restore_reads_again_what_the_backup_lacked(
    outbox: KeyOutbox, reader: KeyReader, pool: asyncpg.Pool
) -> None:
    key = await mint(pool)
    await outbox.turn()

    async with following(reader), asyncio.timeout(60):
        await reader.caught_up.wait()
        await pool.execute("delete from subject_key")  # as a backup from before it was minted
        assert await epochs.begin(pool, await epochs.newest(pool))
        while await pool.fetchval("select array_agg(key_id) from subject_key") != [key]:
            await asyncio.sleep(0.05)


async def test_an_unreadable_record_is_passed_over(
    outbox: KeyOutbox, reader: KeyReader, pool: asyncpg.Pool, kafka: str, topic_name: str
) -> None:
    key = await mint(pool)
    await outbox.turn()
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for partition in range(12):
        await producer.send_and_wait(topic_name, b"{}", b"x", partition=partition)
    await producer.stop()

    await pool.execute("delete from subject_key")
    await read_to_the_end(reader)

    assert await pool.fetchval("select array_agg(key_id) from subject_key") == [key]


async def test_what_is_known_already_takes_no_transaction_id(
    outbox: KeyOutbox, pool: asyncpg.Pool, kafka: str, topic_name: str
) -> None:
    await mint(pool)
    await outbox.turn()

    taken: list[int] = []
    for _ in range(3):  # something else of this server may take one meanwhile, if not each time
        reader = KeyReader(pool=pool, service="probe", bootstrap=kafka, topic=topic_name)
        before = await next_transaction_id(pool)
        await read_to_the_end(reader)
        taken.append(await next_transaction_id(pool) - before)

    assert 0 in taken


async def next_transaction_id(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text"))


async def test_a_keys_topic_that_is_not_compacted_is_refused_by_name(
    outbox: KeyOutbox, kafka: str, topic_name: str
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic_name, 12, 1)])
    await admin.close()

    with pytest.raises(WrongTopicError) as refused:
        await outbox.turn()

    assert (refused.value.topic, refused.value.setting) == (topic_name, "cleanup.policy")


async def mint(pool: asyncpg.Pool) -> str:
    key_id = str(new_id())
    await pool.execute(
        "insert into subject_key (key_id, kek_id, wrapped, unsent) "
        "values ($1, 'kek', 'nonce.key', true)",
        key_id,
    )
    return key_id


async def destroy(pool: asyncpg.Pool, key_id: str) -> None:
    await pool.execute(
        "update subject_key set kek_id = null, wrapped = null, destroyed = $2, unsent = true "
        "where key_id = $1",
        key_id,
        GONE,
    )


async def destroyed(pool: asyncpg.Pool, key_id: str) -> datetime | None:
    return await pool.fetchval("select destroyed from subject_key where key_id = $1", key_id)


async def read_to_the_end(reader: KeyReader) -> None:
    async with following(reader), asyncio.timeout(60):
        await reader.caught_up.wait()


@asynccontextmanager
async def following(reader: KeyReader) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(reader.run(stop, beat=lambda: None))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await task
