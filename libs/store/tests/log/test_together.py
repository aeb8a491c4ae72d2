"""Appends that share a transaction, against a real PostgreSQL: each has its own outcome."""

from __future__ import annotations

import asyncio

import asyncpg
from crm_store.ids import new_id
from crm_store.log.entries import StreamAppend, VersionConflictError
from crm_store.log.position import START
from crm_store.log.rows import columns_of
from crm_store.log.tail import read_page
from crm_store.log.together import APPEND_EACH
from probe import AT, STAYS_OPEN, Counted, Probe

CALLS = 20


async def append(probe: Probe, stream, expected: int, number: int):
    return await probe.log.append(streams=[probe.stream(stream, expected, number)])


async def test_appends_at_the_same_time_share_transactions_and_know_their_own_position(probe):
    streams = [new_id() for _ in range(CALLS)]

    done = await asyncio.gather(*(append(probe, one, 0, n) for n, one in enumerate(streams)))

    page = await read_page(probe.pool, START, limit=100, types=[Counted.type])
    rows = {row["stream_id"]: (int(row["xid"]), row["gp"]) for row in page}
    assert len({xid for xid, _ in rows.values()}) < CALLS / 2
    for stream, one in zip(streams, done, strict=True):
        assert one.inserted == {stream}
        assert (one.position.xid, one.position.gp) == rows[stream]


async def test_one_that_conflicts_is_refused_alone(probe):
    moved, streams = new_id(), [new_id() for _ in range(CALLS)]
    await append(probe, moved, 0, 1)

    outcomes = await asyncio.gather(
        *(append(probe, one, 0, 1) for one in (*streams, moved)), return_exceptions=True
    )

    assert isinstance(outcomes[-1], VersionConflictError)
    assert outcomes[-1].stream_id == moved
    assert all(one.inserted for one in outcomes[:-1])
    assert await probe.pool.fetchval("select count(*) from log") == CALLS + 1


async def test_a_call_with_several_streams_is_written_whole_or_not_at_all(probe):
    moved, first, other = new_id(), new_id(), new_id()
    await append(probe, moved, 0, 1)

    outcomes = await asyncio.gather(
        probe.log.append(streams=[probe.stream(first, 0, 1), probe.stream(moved, 0, 1)]),
        append(probe, other, 0, 1),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], VersionConflictError)
    assert outcomes[0].stream_id == moved
    assert await probe.log.load(first, opens=False) == []
    assert len(await probe.log.load(other, opens=False)) == 1


async def test_of_two_on_one_stream_one_is_written(probe):
    stream = new_id()

    outcomes = await asyncio.gather(
        *(append(probe, stream, 0, n) for n in (1, 2)), return_exceptions=True
    )

    assert [isinstance(one, VersionConflictError) for one in outcomes].count(True) == 1
    assert len(await probe.log.load(stream, opens=False)) == 1


async def test_what_the_database_cannot_take_is_refused_alone(probe):
    streams = [new_id() for _ in range(CALLS)]
    beyond = probe.stream(new_id(), 2**31, 1)  # a version above what a column holds

    outcomes = await asyncio.gather(
        *(append(probe, one, 0, 1) for one in streams),
        probe.log.append(streams=[beyond]),
        return_exceptions=True,
    )

    assert isinstance(outcomes[-1], asyncpg.DataError)
    assert all(one.inserted for one in outcomes[:-1])


async def test_a_stream_that_is_locked_elsewhere_holds_up_nobody_else(probe):
    locked, streams = new_id(), [new_id() for _ in range(CALLS)]
    async with probe.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(STAYS_OPEN)
        await connection.execute(
            "select pg_advisory_xact_lock(hashtextextended($1, 0))", str(locked)
        )

        waiting = asyncio.create_task(append(probe, locked, 0, 1))
        await asyncio.gather(*(append(probe, one, 0, 1) for one in streams))

        assert not waiting.done()
        await transaction.rollback()
    assert (await waiting).inserted == {locked}


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(probe):
    streams = [new_id() for _ in range(CALLS)]
    tasks = [asyncio.create_task(append(probe, one, 0, 1)) for one in streams]
    await asyncio.sleep(0)

    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert all(one.inserted for one in outcomes[1:])


async def test_an_empty_append_and_a_large_one_go_by_themselves(probe):
    stream = new_id()

    nothing = await probe.log.append(streams=[StreamAppend(stream, 0, ())])
    many = await probe.log.append(streams=[probe.stream(stream, 0, *range(50))])

    assert nothing.position is None
    assert many.inserted == {stream}
    assert len(await probe.log.load(stream, opens=False)) == 50


async def test_a_transaction_that_is_older_than_a_streams_writer_leaves_it_alone(probe):
    """Else its version 2 would lie before version 1 in the log."""
    stream, other = new_id(), new_id()
    await probe.pool.execute("create table earlier (n int)")
    appends = [probe.stream(stream, 1, 2), probe.stream(other, 0, 1)]
    placed = [(one.stream_id, one.expected_version + 1, one.events[0]) for one in appends]
    columns = columns_of(placed, AT, {}, contract=probe.contract)

    async with probe.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(STAYS_OPEN)
        await connection.execute("insert into earlier values (1)")  # takes the transaction id
        await append(probe, stream, 0, 1)
        rows = await connection.fetch(
            APPEND_EACH, 1, [0, 1], [stream, other], [1, 0], [0, 1], [AT, AT], *columns
        )
        await transaction.commit()

    assert [(row["o_stream"], row["o_gp"] is None) for row in rows] == [
        (other, False),
        (stream, True),
    ]
    assert [one.event.number for one in await probe.log.load(stream, opens=False)] == [1]
