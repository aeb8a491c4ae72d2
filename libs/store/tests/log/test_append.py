"""Both appends, against a real PostgreSQL."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from crm_events.personal import SEALED
from crm_store.errors import sqlstate
from crm_store.ids import derived_id, new_id
from crm_store.log.append import APPEND_STREAMS
from crm_store.log.entries import (
    EventTooLargeError,
    Fact,
    NewEvent,
    Reservation,
    ReservedError,
    Statement,
    StreamAppend,
    VersionConflictError,
)
from crm_store.log.position import START
from crm_store.log.rows import columns_of
from crm_store.log.tail import read_page
from probe import AT, SOURCE, STAYS_OPEN, Counted, Named, Noted, Probe


async def rows(probe: Probe) -> int:
    return await probe.pool.fetchval("select count(*) from log")


async def test_a_stream_is_appended_and_loaded_in_version_order(probe):
    stream = new_id()

    await probe.log.append(streams=[probe.stream(stream, 0, 1, 2)])
    await probe.log.append(streams=[probe.stream(stream, 2, 3)])

    loaded = await probe.log.load(stream, opens=False)
    assert [entry.event.number for entry in loaded] == [1, 2, 3]
    assert [entry.stream_version for entry in loaded] == [1, 2, 3]


async def test_an_append_on_an_old_version_is_refused_and_writes_nothing(probe):
    stream, other = new_id(), new_id()
    await probe.log.append(streams=[probe.stream(stream, 0, 1)])

    with pytest.raises(VersionConflictError) as conflict:
        await probe.log.append(
            streams=[probe.stream(other, 0, 7), probe.stream(stream, 0, 2)],
            facts=[probe.fact(other, 1)],
        )

    assert conflict.value.stream_id == stream
    assert await rows(probe) == 1


async def test_a_fact_appended_again_is_a_duplicate_for_ever(probe):
    customer = new_id()
    first = await probe.log.append(facts=[probe.fact(customer, 1), probe.fact(customer, 2)])

    again = await probe.log.append(facts=[probe.fact(customer, 2), probe.fact(customer, 3)])

    assert len(first.inserted) == 2
    assert again.duplicates == {derived_id(SOURCE, str(customer), "2")}
    assert again.inserted == {derived_id(SOURCE, str(customer), "3")}
    assert await rows(probe) == 3


async def test_facts_keep_the_order_they_were_given_in(probe):
    customer = new_id()

    await probe.count(customer, *range(200))

    page = await read_page(probe.pool, START, limit=500, types=[Counted.type])
    entries = await probe.log.logged(page, opens=False)
    assert [entry.event.number for entry in entries] == list(range(200))


async def test_an_identifier_belongs_to_one_holder(probe):
    mine, yours, digest = new_id(), new_id(), b"d" * 32
    await probe.log.append(
        streams=[probe.stream(mine, 0, 1)], reservations=[Reservation("mail", digest, mine)]
    )

    with pytest.raises(ReservedError) as reserved:
        await probe.log.append(
            streams=[probe.stream(yours, 0, 1)], reservations=[Reservation("mail", digest, yours)]
        )

    assert reserved.value.holder == mine
    assert await rows(probe) == 1


async def test_of_many_who_reserve_at_once_exactly_one_wins(probe):
    digest = b"e" * 32

    async def reserve() -> bool:
        holder = new_id()
        try:
            await probe.log.append(
                streams=[probe.stream(holder, 0, 1)],
                reservations=[Reservation("mail", digest, holder)],
            )
        except ReservedError:
            return False
        return True

    outcomes = await asyncio.gather(*(reserve() for _ in range(16)))

    assert sum(outcomes) == 1
    assert await rows(probe) == 1


async def test_what_goes_along_is_written_with_the_rows_or_not_at_all(probe):
    stream = new_id()
    await probe.pool.execute("create table beside (n int primary key)")
    also = [Statement("insert into beside values ($1)", (1,))]
    await probe.log.append(streams=[probe.stream(stream, 0, 1)], also=also)

    with pytest.raises(asyncpg.UniqueViolationError):
        await probe.log.append(streams=[probe.stream(stream, 1, 2)], also=also)

    assert await probe.pool.fetchval("select count(*) from beside") == 1
    assert await rows(probe) == 1


async def test_what_goes_along_comes_behind_the_rows(probe):
    """So an append has its locks before it has a transaction id, with company or without."""
    await probe.pool.execute("""
        create table beside (rows_before bigint);
        create function rows_in_log() returns bigint language plpgsql volatile as
            'begin return (select count(*) from log); end'""")
    also = [Statement("insert into beside select rows_in_log() + $1", (0,))]

    await probe.log.append(streams=[probe.stream(new_id(), 0, 1)], also=also)

    assert await probe.pool.fetchval("select rows_before from beside") == 1


async def test_personal_fields_are_stored_sealed_and_open_with_the_key(probe):
    customer = new_id()
    await probe.mint(customer)
    named = NewEvent(Named(name="Ada Lovelace"), new_id(), AT, customer)

    await probe.log.append(streams=[StreamAppend(customer, 0, (named,))])

    stored = await probe.pool.fetchval("select data::text from log")
    closed = (await probe.log.load(customer, opens=False))[0].event
    opened = (await probe.log.load(customer, opens=True))[0].event
    assert "Ada" not in stored
    assert closed.name is SEALED
    assert opened.name == "Ada Lovelace"


async def test_a_private_event_has_no_topic_and_a_published_one_has_its_partition(probe):
    stream = new_id()
    note = NewEvent(Noted(note="x"), new_id(), AT, stream)

    await probe.log.append(streams=[StreamAppend(stream, 0, (note,))])
    await probe.count(stream, 1)

    placed = await probe.pool.fetch("select topic, partition from log order by gp")
    assert tuple(placed[0]) == (None, None)
    assert placed[1]["topic"] == "probe.things"
    assert 0 <= placed[1]["partition"] < 12


@pytest.mark.parametrize(
    ("said", "correlation"),
    [("x" * 400_000, ""), ("", "x" * 400_000), ("\U0001f4d6" * 49_100, "\U0001f4d6" * 49_100)],
    ids=["data", "meta", "together"],
)
async def test_an_event_above_the_limit_is_refused_before_anything_is_written(
    probe, said, correlation
):
    stream = new_id()
    note = NewEvent(Noted(note=said), new_id(), AT, stream, {"correlationid": correlation})

    with pytest.raises(EventTooLargeError):
        await probe.log.append(facts=[Fact(new_id(), note)])

    assert await rows(probe) == 0


async def test_concurrent_writers_of_one_stream_lose_no_event_and_keep_version_order(probe):
    stream = new_id()

    async def write(number: int) -> None:
        while True:
            version = await probe.pool.fetchval(
                "select coalesce(max(version), 0) from stream where stream_id = $1", stream
            )
            try:
                await probe.log.append(streams=[probe.stream(stream, version, number)])
            except VersionConflictError:
                continue
            return

    await asyncio.gather(*(write(number) for number in range(30)))

    page = await read_page(probe.pool, START, limit=100, types=[Counted.type])
    assert [row["version"] for row in page] == list(range(1, 31))


async def test_a_transaction_that_wrote_before_it_loaded_cannot_invert_version_order(probe):
    """Its transaction id is older than that of version 1, so version 2 would come first."""
    stream = new_id()
    await probe.pool.execute("create table earlier (n int)")
    arguments = await _append_arguments(probe, stream, expected=1, number=2)

    async with probe.pool.acquire() as connection, probe.pool.acquire() as other:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(STAYS_OPEN)
        await connection.execute("insert into earlier values (1)")  # takes the transaction id
        await other.fetch(
            APPEND_STREAMS, *await _append_arguments(probe, stream, expected=0, number=1)
        )
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.fetch(APPEND_STREAMS, *arguments)
        await transaction.rollback()

    assert sqlstate(refused.value) == "40001"
    await probe.log.append(streams=[probe.stream(stream, 1, 2)])
    page = await read_page(probe.pool, START, limit=100, types=[Counted.type])
    assert [row["version"] for row in page] == [1, 2]


async def test_without_the_guard_the_same_interleaving_does_invert_version_order(probe):
    """The guard shown red: the rows are inserted as the function would, but for its check."""
    stream = new_id()
    bare = (
        "insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,"
        " partition_key, occurred_at, data) values (1, now(), $1, $2, $3, 't', 1, $1, now(), '{}')"
    )

    async with (
        probe.pool.acquire() as connection,
        probe.pool.acquire() as other,
        connection.transaction(),
    ):
        await connection.execute(STAYS_OPEN)
        await connection.execute("select pg_current_xact_id()")
        await other.execute(bare, stream, 1, new_id())
        await connection.execute(bare, stream, 2, new_id())

    page = await read_page(probe.pool, START, limit=100, types=["t"])
    assert [row["version"] for row in page] == [2, 1]


async def _append_arguments(probe: Probe, stream, *, expected: int, number: int):
    append = probe.stream(stream, expected, number)
    placed = [(stream, expected + 1, append.events[0])]
    columns = columns_of(placed, AT, {}, contract=probe.contract)
    return (1, AT, [stream], [expected], [], [], [], *columns)
