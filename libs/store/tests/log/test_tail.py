"""The tail: nothing lost under concurrent commits, nothing held back by the frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import asyncpg
import pytest
from crm_store.database import SESSION_LIMITS
from crm_store.ids import new_id
from crm_store.log.position import START, Position
from crm_store.log.tail import head, position_of, read_page
from crm_store.watchdog import Horizon, end_old_sessions, look_at_horizon
from probe import STAYS_OPEN, Counted

WRITERS, EACH = 12, 60


async def _until(condition):
    async with asyncio.timeout(60):
        while not await condition():  # a position in a database has no event
            await asyncio.sleep(0.02)


async def test_a_tail_sees_every_row_of_concurrent_writers_once_and_in_order(probe):
    seen: list[tuple[object, int]] = []
    customers = [new_id() for _ in range(WRITERS)]

    async def write(customer):
        for number in range(EACH):
            await probe.count(customer, number)

    async def tail():
        at = START
        while len(seen) < WRITERS * EACH:
            page = await read_page(probe.pool, at, limit=50, types=[Counted.type])
            for row in page:
                at = position_of(row)
                entry = (await probe.log.logged([row], opens=False))[0]
                seen.append((entry.partition_key, entry.event.number))
            await asyncio.sleep(0)

    async with asyncio.timeout(150):
        await asyncio.gather(tail(), *(write(customer) for customer in customers))

    assert len(seen) == len(set(seen)) == WRITERS * EACH
    for customer in customers:
        assert [number for who, number in seen if who == customer] == list(range(EACH))


async def test_a_plain_cursor_over_row_numbers_would_lose_the_slower_transaction(probe):
    """What the order by transaction prevents, shown red."""
    slow, quick = new_id(), new_id()
    async with probe.pool.acquire() as connection, connection.transaction():
        await connection.execute(STAYS_OPEN)
        await _insert(connection, slow)
        await probe.count(quick, 1)

        by_number = [row["gp"] for row in await probe.pool.fetch("select gp from log")]
        by_tail = await read_page(probe.pool, START, limit=10, types=[])

    after = await read_page(probe.pool, START, limit=10, types=["t", Counted.type])
    assert by_number == [2], "a cursor would stand at 2 now and never see row 1"
    assert by_tail == []
    assert sorted(row["gp"] for row in after) == [1, 2]


async def test_rows_of_an_earlier_epoch_come_first_and_are_settled(probe):
    await probe.count(new_id(), 1)
    await probe.pool.execute(
        "insert into log_epoch (epoch, system_identifier, timeline) values (2, 'next', 1)"
    )
    await probe.pool.execute("update log set xid = '9000000000000' where epoch = 1")

    page = await read_page(probe.pool, START, limit=10, types=[])

    assert [row["epoch"] for row in page] == [1]
    assert await head(probe.pool) == Position(1, 9_000_000_000_000, 1)


FROZEN_CLIENT = """
import asyncio, sys
import asyncpg

async def main():
    connection = await asyncpg.connect(sys.argv[1], server_settings=dict(
        pair.split("=") for pair in sys.argv[2:]))
    await connection.execute("begin")
    await connection.execute("select pg_current_xact_id()")
    print("open", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def frozen_client(installed, tmp_path):
    """A process of this service, stopped by SIGSTOP inside its transaction."""
    started: list[subprocess.Popen[str]] = []

    def start(**limits: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                FROZEN_CLIENT,
                installed,
                *(f"{k}={v}" for k, v in limits.items()),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        os.kill(process.pid, signal.SIGSTOP)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_a_client_frozen_inside_its_transaction_is_freed_and_the_tail_goes_on(
    probe, frozen_client
):
    frozen_client(**SESSION_LIMITS)
    await probe.count(new_id(), 1)

    async def in_reach():
        return len(await read_page(probe.pool, START, limit=10, types=[])) == 1

    await _until(in_reach)


async def test_the_watchdog_ends_what_no_timeout_of_the_server_ends(
    probe, frozen_client, monkeypatch
):
    frozen_client(idle_in_transaction_session_timeout="0", transaction_timeout="0")
    await probe.count(new_id(), 1)
    assert await read_page(probe.pool, START, limit=10, types=[]) == [], "it is held back"
    monkeypatch.setattr("crm_store.watchdog.OLDEST_XID_SECONDS", 3_600.0)
    assert await end_old_sessions(probe.pool) == 0, "it is not old yet"
    monkeypatch.setattr("crm_store.watchdog.OLDEST_XID_SECONDS", 0.5)

    async def ended():
        return await end_old_sessions(probe.pool) == 1

    await _until(ended)

    async def in_reach():
        return len(await read_page(probe.pool, START, limit=10, types=[])) == 1

    await _until(in_reach)


async def test_a_frozen_client_of_another_database_is_freed_so_that_this_tail_moves(
    probe, stack, frozen_client
):
    """An open transaction id holds back every tail of the cluster, so every role frees its own."""
    other = stack.fresh_database()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            FROZEN_CLIENT,
            other,
            *(f"{k}={v}" for k, v in SESSION_LIMITS.items()),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "open\n"
        os.kill(process.pid, signal.SIGSTOP)
        await probe.count(new_id(), 1)

        async def in_reach():
            return len(await read_page(probe.pool, START, limit=10, types=[])) == 1

        await _until(in_reach)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_an_id_that_a_stranger_holds_open_is_seen_though_we_may_not_end_it(probe, stack):
    horizon = Horizon()
    assert await look_at_horizon(probe.pool, horizon) < 1, "nobody holds one yet"
    stranger = await asyncpg.connect(stack.postgres.admin_url)
    try:
        await stranger.execute("begin")
        await stranger.execute("select pg_current_xact_id()")
        await probe.count(new_id(), 1)

        async def seen():
            return await look_at_horizon(probe.pool, horizon) >= 1

        await _until(seen)

        assert await end_old_sessions(probe.pool) == 0, "it is not ours"
        await stranger.execute("rollback")
        await probe.count(new_id(), 2)
        assert await look_at_horizon(probe.pool, horizon) < 1
    finally:
        await stranger.close()


def test_the_oldest_id_is_as_old_as_it_was_seen_to_stand():
    horizon = Horizon()

    assert horizon.seconds(7, 9, now=10.0) == 0
    assert horizon.seconds(7, 12, now=13.0) == 3
    assert horizon.seconds(8, 12, now=14.0) == 0, "another is the oldest now"
    assert horizon.seconds(8, 8, now=19.0) == 0, "none is open"


async def _insert(connection: asyncpg.Connection, customer) -> None:
    await connection.execute(
        "insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,"
        " partition_key, occurred_at, data) values (1, now(), $1, 1, $2, 't', 1, $1, now(), '{}')",
        customer,
        new_id(),
    )
