"""Every own row reaches Kafka in log order, under a number that the log alone decides."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import pytest
from crm_events.topics import Topic
from crm_kafka.relay.progress import LostPositionError, load
from crm_kafka.relay.publisher import RecordTooLargeError
from crm_kafka.relay.relay import Relay
from crm_store.ids import new_id
from probe import STAYS_OPEN, Counted, Named, Noted
from relaying import Rows, filled, heard, send_all, taken


async def test_every_partition_is_numbered_from_one_in_log_order(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    keys = [new_id() for _ in range(500)]
    for _ in range(20):
        await rows.write(1_000, keys=keys)

    relay = relay_of(rows.topic)
    await send_all(relay)

    records = await heard(kafka, rows.topic)
    assert len(records) == 20_000
    for partition, ids in rows.written.items():
        told = [one for one in records if one.partition == partition]
        assert [one.sequence for one in told] == list(range(1, len(ids) + 1))
        assert [one.event_id for one in told] == ids


async def test_the_database_knows_the_last_number_and_its_offset(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    await rows.write(3_000)

    relay = relay_of(rows.topic)
    await send_all(relay)

    kept = await pool.fetch("select partition, sequence, kafka_offset from relay_sequence")
    last = {one.partition: one for one in await heard(kafka, rows.topic)}
    assert {row["partition"]: (row["sequence"], row["kafka_offset"]) for row in kept} == {
        partition: (one.sequence, one.offset) for partition, one in last.items()
    }


async def test_killed_between_send_and_move_another_release_gives_the_same_numbers(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, topic: Topic, rows: Rows
) -> None:
    older = Topic(topic.name, "probe", (Counted, Named), topic.partitions)
    newer = Topic(topic.name, "probe", (Named, Noted), topic.partitions)
    every = (Counted.type, Named.type, Noted.type)
    await rows.write(3_000, types=every)

    killed = relay_of(older)
    await killed.turn()
    page = await killed.read_page()
    await killed.send(await killed.number(page))  # and here it dies
    await rows.write(1_000, types=every)
    restarted = relay_of(newer)
    await send_all(restarted)

    records = await heard(kafka, topic)
    assert len(records) == 4_000 + len(page.rows)
    assert taken(records) == rows.written


async def test_of_two_relays_that_both_believe_they_lead_one_moves_the_position(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    await rows.write(1_500)
    one, other = relay_of(rows.topic), relay_of(rows.topic)
    await one.turn()
    await rows.write(1_500)
    page, same = await one.read_page(), await other.read_page()

    sent = await one.send(await one.number(page))
    again = await other.send(await other.number(same))
    await one.move_position(page, sent)
    with pytest.raises(LostPositionError):
        await other.move_position(same, again)

    await rows.write(500)
    await send_all(other)
    await rows.write(1)
    with pytest.raises(LostPositionError):
        await one.turn()
    await send_all(one)
    records = await heard(kafka, rows.topic)
    assert len(records) > rows.count
    assert taken(records) == filled(rows.written)


async def test_a_row_waits_for_older_transactions_that_are_still_open(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    relay = relay_of(rows.topic)
    await rows.write(10)
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute(STAYS_OPEN)
            await rows.write(5, connection=connection)
            await rows.write(20)
            await send_all(relay)
            before = len(await heard(kafka, rows.topic))
        await send_all(relay)

    assert before == 10
    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)


async def test_what_was_heard_or_is_private_stays_here(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    await rows.write(3)
    await pool.execute("update log set sequence = gp, heard_at = now() where gp = 1")
    await pool.execute("update log set topic = null, partition = null where gp = 2")

    relay = relay_of(rows.topic)
    await send_all(relay)

    assert len(await heard(kafka, rows.topic)) == 1


async def test_a_row_that_kafka_would_not_take_is_named_and_nothing_passes_it(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    await rows.write(1)
    await rows.write(1, data='"' + "x" * 1_000_001 + '"')
    await rows.write(1)
    relay = relay_of(rows.topic)

    with pytest.raises(RecordTooLargeError) as refused:
        await relay.turn()

    large = await pool.fetchval("select event_id from log where octet_length(data::text) > 1000")
    assert refused.value.event_id == str(large)
    assert await heard(kafka, rows.topic) == []
    assert (await load(pool)).sequences == {}


async def test_large_rows_make_small_pages(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    for _ in range(10):
        await rows.write(10, data='"' + "x" * 250_000 + '"')
        await rows.write(10)
    relay = relay_of(rows.topic)

    page = await relay.read_page()
    await send_all(relay)

    assert sum(len(page.data(row)) for row in page.rows) <= 8_251_000
    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)
