from __future__ import annotations

import asyncio

import asyncpg
import pytest
from crm_store.database import close_pool, open_pool, wait_until_migrated
from crm_store.errors import is_dependency_error, sqlstate
from probe import is_migrated

NOWHERE = "postgresql://probe@127.0.0.1:1/probe"


@pytest.fixture
async def one(database):
    """A pool of one connection, so that each acquire meets what the last one left."""
    async with open_pool(database, application_name="probe", max_size=1) as pool:
        yield pool
        await close_pool(pool)


@pytest.mark.connected
async def test_a_pool_opens_before_its_server_does_and_asking_it_is_an_outage():
    async with open_pool(NOWHERE, application_name="probe", max_size=1) as pool:
        with pytest.raises(ConnectionRefusedError) as away:
            await pool.fetchval("select 1")

    assert is_dependency_error(away.value)


async def test_every_session_lives_under_the_limits(one):
    names = ["idle_in_transaction_session_timeout", "transaction_timeout", "statement_timeout"]

    found = [await one.fetchval("select current_setting($1)", name) for name in names]

    assert found == ["2s", "5s", "4500ms"]
    assert await one.fetchval("select current_setting('timezone')") == "UTC"
    assert await one.fetchval("select current_setting('application_name')") == "probe"


async def test_a_transaction_that_idles_is_ended_by_the_server_as_an_outage(one):
    with pytest.raises(Exception) as ended:  # noqa: PT011  # the driver has several for it
        await idle_in_a_transaction(one)

    assert is_dependency_error(ended.value)
    assert await one.fetchval("select 1") == 1


async def idle_in_a_transaction(pool):
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_current_xact_id()")
        await connection.execute("set local idle_in_transaction_session_timeout = '20ms'")
        async with asyncio.timeout(60):
            while not connection.is_closed():
                await asyncio.sleep(0.01)
        await connection.execute("select 1")


async def test_giving_a_connection_back_resets_nothing_for_that_costs_a_round_trip(one):
    async with one.acquire() as connection:
        await connection.execute("set application_name = 'kept'")

    async with one.acquire() as connection:
        kept = await connection.fetchval("select current_setting('application_name')")

    assert kept == "kept"


async def test_a_connection_left_in_a_transaction_is_rolled_back(one):
    await one.execute("create table t (a int)")
    connection = await one.acquire()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("insert into t values (1)")
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    await one.release(connection)

    assert await one.fetchval("select count(*) from t") == 0
    assert "active transaction" in told[0]["message"]


async def test_a_demoted_server_is_left_for_a_new_connection(one):
    await one.execute("create table t (a int)")
    async with one.acquire() as connection:
        before = connection.get_server_pid()
        await connection.execute("set default_transaction_read_only = on")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as refused:
            await connection.execute("insert into t values (1)")

    await one.execute("insert into t values (2)")

    assert sqlstate(refused.value) == "25006"
    assert is_dependency_error(refused.value)
    async with one.acquire() as connection:
        assert connection.get_server_pid() != before


async def test_waiting_for_a_migration_beats_and_ends_when_it_was_done(one):
    beats = 0
    waiting = asyncio.Event()

    def beat():
        nonlocal beats
        beats += 1
        if beats == 3:
            waiting.set()

    waited = asyncio.create_task(
        wait_until_migrated(lambda: is_migrated(one), asyncio.Event(), beat=beat)
    )
    await asyncio.wait_for(waiting.wait(), 60)
    assert not waited.done()

    await one.execute("create table log_epoch (epoch int)")

    assert await asyncio.wait_for(waited, 60) is True


async def test_waiting_for_a_migration_ends_when_asked_to_stop(one):
    stop = asyncio.Event()
    stop.set()

    assert await wait_until_migrated(lambda: is_migrated(one), stop, beat=lambda: None) is False
