"""One statement moves the marks and inserts the rows, or does nothing."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from crm_kafka.inbox.admission import NOTHING_TAKEN, Mark
from crm_kafka.inbox.marks import read_marks, take_up
from crm_kafka.inbox.rows import hear, row_of
from crm_kafka.inbox.taking import TAKE, Batch, is_lost, take
from probe import STAYS_OPEN
from wire import event_id, message, record

ONE = TopicPartition("probe.things", 0)
TWO = TopicPartition("probe.things", 1)


def batch_of(
    *records: ConsumerRecord[bytes, bytes], before: dict[TopicPartition, Mark] | None = None
) -> Batch:
    rows = [row_of(hear(each)) for each in records]
    return Batch.of(records, rows, before or {ONE: NOTHING_TAKEN, TWO: NOTHING_TAKEN})


async def sequences(pool: asyncpg.Pool) -> list[tuple[int, int]]:
    rows = await pool.fetch(
        "select l.partition, l.sequence from log l order by l.epoch, l.xid, l.gp"
    )
    return [(row["partition"], row["sequence"]) for row in rows]


@pytest.fixture
async def marked(pool: asyncpg.Pool) -> asyncpg.Pool:
    await take_up(pool, {ONE: 5, TWO: 0})
    return pool


async def test_a_batch_moves_its_marks_and_stands_in_the_log_in_order(marked: asyncpg.Pool) -> None:
    await take(marked, batch_of(*(record(ONE, n) for n in (1, 2, 3)), record(TWO, 1)))

    marks = await read_marks(marked, [ONE, TWO])
    assert marks[ONE] == Mark(3, str(event_id(0, 3)), 2, 5)
    assert marks[TWO] == Mark(1, str(event_id(1, 1)), 0)
    assert await sequences(marked) == [(0, 1), (0, 2), (0, 3), (1, 1)]


async def test_a_row_holds_what_the_record_said(marked: asyncpg.Pool) -> None:
    await take(marked, batch_of(record(ONE, 1, value=b'{"number": 1.50, "a":1,"a":2}')))

    row = await marked.fetchrow(
        "select l.*, l.data::text as text, l.meta::text as metatext, l.xid::text as x from log l"
    )
    key, _, headers = message(0, 1)
    said = hear(record(ONE, 1)).envelope
    assert row["text"] == '{"number": 1.50, "a":1,"a":2}'
    assert row["metatext"] == '{"correlationid":"c-1"}'
    assert str(row["partition_key"]).encode() == key
    assert str(row["stream_id"]).encode() == dict(headers)["ce_subject"]
    assert row["occurred_at"].isoformat() == said.occurred_at.replace(".000000Z", "+00:00")
    assert row["recorded_at"].microsecond == 5
    assert row["heard_at"] is not None
    assert (row["type"], row["schema_version"], row["version"]) == ("probe.thing.counted", 1, 1)
    assert (row["epoch"], row["sequence"], row["topic"]) == (1, 1, "probe.things")


async def test_history_ends_where_the_topic_ended_at_the_first_take_up(
    marked: asyncpg.Pool,
) -> None:
    await take_up(marked, {ONE: 99})

    assert await marked.fetchval("select history_until from inbox_mark where partition = 0") == 5


async def test_news_begins_behind_the_last_record_that_was_there_then(
    marked: asyncpg.Pool,
) -> None:
    first, rest = [record(ONE, n) for n in (1, 2, 3)], [record(ONE, n) for n in (4, 5, 6, 7)]

    await take(marked, batch_of(*first, before=await read_marks(marked, [ONE])))
    in_history = await news_after(marked)
    await take(marked, batch_of(*rest, before=await read_marks(marked, [ONE])))
    at_its_end = await news_after(marked)
    await take(marked, batch_of(record(ONE, 8), before=await read_marks(marked, [ONE])))

    assert (in_history, at_its_end, await news_after(marked)) == (None, 5, 5)


async def test_news_begins_with_a_number_sent_again_though_others_behind_it_lie_before(
    marked: asyncpg.Pool,
) -> None:
    again, held = record(ONE, 1, offset=7), record(ONE, 2, offset=1)

    await take(marked, batch_of(again, held, before=await read_marks(marked, [ONE])))

    assert await news_after(marked) == 0


async def test_where_the_topic_was_empty_all_is_news(marked: asyncpg.Pool) -> None:
    await take(marked, batch_of(record(TWO, 1), before=await read_marks(marked, [TWO])))

    assert await news_after(marked, partition=1) == 0


async def test_what_a_release_before_took_behind_its_history_does_not_hide_news(
    marked: asyncpg.Pool,
) -> None:
    await marked.execute(
        "update inbox_mark set sequence = 6, event_id = $1, kafka_offset = 5 where partition = 0",
        event_id(0, 6),
    )

    await take(marked, batch_of(record(ONE, 7), before=await read_marks(marked, [ONE])))

    assert await news_after(marked) == 6


async def news_after(pool: asyncpg.Pool, partition: int = 0) -> int | None:
    return await pool.fetchval("select news_after from inbox_mark where partition = $1", partition)


async def test_a_stale_mark_writes_nothing_of_any_partition(marked: asyncpg.Pool) -> None:
    await take(marked, batch_of(record(ONE, 1)))

    with pytest.raises(asyncpg.PostgresError) as refused:
        await take(marked, batch_of(record(TWO, 1), record(ONE, 1)))

    assert is_lost(refused.value)
    assert await sequences(marked) == [(0, 1)]
    assert (await read_marks(marked, [TWO]))[TWO] == NOTHING_TAKEN


async def interleave(pool: asyncpg.Pool, second: Batch) -> None:
    """Another member writes, and commits only after `second` came to the marks' row locks."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(STAYS_OPEN)
        # The other took 1 and 2 of the partition, and has not committed yet.
        await connection.execute(
            "update inbox_mark set sequence = 2, event_id = $1, kafka_offset = 1 "
            "where partition = 0",
            event_id(0, 2),
        )
        taking = asyncio.create_task(take(pool, second))
        waiting = (
            "select count(*) from pg_stat_activity"
            " where wait_event_type = 'Lock' and datname = current_database()"
        )
        async with asyncio.timeout(60):
            while not await pool.fetchval(waiting):
                await asyncio.sleep(0.01)
        await transaction.commit()
    await taking


async def test_a_member_that_waited_for_anothers_marks_takes_nothing(marked: asyncpg.Pool) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await interleave(marked, batch_of(record(ONE, 1), record(ONE, 2)))

    assert is_lost(refused.value)
    assert await sequences(marked) == []


async def test_without_the_comparison_the_same_interleaving_takes_records_twice(
    marked: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = (
        "\n      and m.sequence = u.from_sequence"
        " and m.event_id is not distinct from u.from_event_id"
    )
    assert compared in TAKE
    monkeypatch.setattr("crm_kafka.inbox.taking.TAKE", TAKE.replace(compared, ""))

    await interleave(marked, batch_of(record(ONE, 1), record(ONE, 2)))

    assert await sequences(marked) == [(0, 1), (0, 2)]  # which the other had taken


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "there is no value"),
        (b"\xff\xfe", "the value is not UTF-8"),
        (b'{"a":"\0"}', "the value holds a NUL"),
        (b"not json", "PostgreSQL refuses it: 22P02"),
        (b"", "there is no value"),
        (b'{"a":1}\x1e{}', "the value is not JSON: it holds U+001E"),
        (b"[1,", "PostgreSQL refuses it: 22P02"),
        (b'{"a":NaN}', "PostgreSQL refuses it: 22P02"),
        (b'{"a":1}\x01', "PostgreSQL refuses it: 22P02"),
        (b"[" * 50_000 + b"]" * 50_000, "PostgreSQL refuses it: 54001"),
    ],
)
async def test_a_value_that_postgresql_refuses_is_kept_aside_and_stood_for(
    marked: asyncpg.Pool, value: bytes | None, reason: str
) -> None:
    records = [record(ONE, n) for n in range(1, 8)]
    records[4] = record(ONE, 5, value=value)

    await take(marked, batch_of(*records))

    assert await sequences(marked) == [(0, n) for n in range(1, 8)]
    row = await marked.fetchrow("select l.*, l.data::text as text from log l where sequence = 5")
    assert (row["type"], row["text"], row["event_id"]) == ("crm.quarantined", "{}", event_id(0, 5))
    assert str(row["partition_key"]).encode() == records[4].key
    kept = await marked.fetchrow("select * from quarantine")
    assert (kept["sequence"], kept["value"], kept["reason"]) == (5, value, reason)
    assert (kept["kafka_offset"], kept["key"]) == (4, records[4].key)
    assert '"ce_subject"' in kept["headers"]
    assert (await read_marks(marked, [ONE]))[ONE].sequence == 7


async def test_an_impossible_date_is_kept_aside(marked: asyncpg.Pool) -> None:
    bad = record(ONE, 2)
    bad.headers = tuple(
        (name, b"2026-02-30T00:00:00Z" if name == "ce_time" else content)
        for name, content in bad.headers
    )

    await take(marked, batch_of(record(ONE, 1), bad, record(ONE, 3)))

    assert await sequences(marked) == [(0, 1), (0, 2), (0, 3)]
    assert await marked.fetchval("select count(*) from quarantine") == 1


async def test_many_bad_values_in_one_batch_are_all_kept_aside(marked: asyncpg.Pool) -> None:
    records = [record(ONE, n, value=b"{" if n % 2 else b"{}") for n in range(1, 41)]

    await take(marked, batch_of(*records))

    assert await sequences(marked) == [(0, n) for n in range(1, 41)]
    assert await marked.fetchval("select count(*) from quarantine") == 20


async def test_headers_of_any_bytes_are_kept_aside_legibly(marked: asyncpg.Pool) -> None:
    bad = record(ONE, 1, value=None)
    bad.headers = (*bad.headers, ("x\0", b"\xff"), ("y", None), ("z", b"a\0"))

    await take(marked, batch_of(bad))

    kept = await marked.fetchval("select headers::text from quarantine")
    assert '["x?", null, "/w=="], ["y", null], ["z", null, "YQA="]' in kept
