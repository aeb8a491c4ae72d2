import asyncio
import contextlib
import os
import shutil
import socket
from dataclasses import replace

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from crm_stack import addresses
from crm_stack.errors import StackError
from crm_stack.server import free_port
from crm_stack.stack import Stack

SILENT_SECONDS = 0.5


async def told(url, line):
    """What a Redis answers to one line of its protocol."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url[:-2].rpartition(":")[2]))
    writer.write(line + b"\r\n")
    try:
        return await reader.readline()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def connected(url):
    connection = await asyncpg.connect(url, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def admin(bootstrap):
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def is_silent(awaitable):
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait({task}, timeout=SILENT_SECONDS)
    return not done, task


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_postgres_comes_back_at_its_address_with_what_was_committed(stack, database, end):
    async with connected(database) as connection:
        await connection.execute("create table kept (id int); insert into kept values (7)")

    getattr(stack.postgres, end)()
    gone = not stack.postgres.running
    stack.postgres.start()

    async with connected(database) as connection:
        assert gone
        assert await connection.fetchval("select id from kept") == 7


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_kafka_comes_back_at_its_address_with_its_topics(stack, kafka, topic_name, end):
    async with admin(kafka) as client:
        await client.create_topics([NewTopic(topic_name, 3, 1)])

    getattr(stack.kafka, end)()
    gone = not stack.kafka.running
    stack.kafka.start()

    async with admin(kafka) as client:
        assert gone
        assert topic_name in await client.list_topics()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_redis_comes_back_at_its_address_and_empty(stack, redis, end):
    await told(redis, b"SET kept 7")

    getattr(stack.redis, end)()
    gone = not stack.redis.running
    stack.redis.start()

    assert gone
    assert await told(redis, b"PING") == b"+PONG\r\n"
    assert await told(redis, b"GET kept") == b"$-1\r\n"


async def test_a_paused_redis_is_silent_and_then_goes_on(stack, redis):
    stack.redis.pause()
    silent, answer = await is_silent(told(redis, b"PING"))
    stack.redis.resume()

    assert silent
    assert await answer == b"+PONG\r\n"


async def test_a_paused_postgres_is_silent_to_open_and_new_connections_and_then_goes_on(
    stack, database
):
    async with connected(database) as connection:
        stack.postgres.pause()
        paused = stack.postgres.paused
        old_is_silent, answer = await is_silent(connection.fetchval("select 42"))
        new_is_silent, new = await is_silent(asyncpg.connect(database, timeout=60))
        stack.postgres.resume()

        assert paused
        assert old_is_silent
        assert new_is_silent
        assert await answer == 42
        await (await new).close()


async def test_a_paused_kafka_is_silent_and_then_goes_on(stack, kafka):
    async with admin(kafka) as client:
        stack.kafka.pause()
        silent, answer = await is_silent(client.list_topics())
        stack.kafka.resume()

        assert silent
        assert isinstance(await answer, list)


async def test_whatever_was_done_to_the_servers_is_undone_before_the_next_test(stack, database):
    stack.kafka.pause()
    stack.postgres.kill()
    stack.redis.pause()

    stack.restore()

    async with admin(stack.kafka.bootstrap) as client, connected(database) as connection:
        assert isinstance(await client.list_topics(), list)
        assert await connection.fetchval("select 1") == 1
        assert await told(stack.redis.url, b"PING") == b"+PONG\r\n"


async def test_a_service_has_a_database_that_no_other_service_may_enter(stack):
    contacts = stack.service_database("contacts")
    strangers_role = stack.service_database("analytics").rpartition("/")[0]

    async with connected(contacts) as connection:
        assert await connection.fetchval("select current_database()") == "contacts"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(f"{strangers_role}/contacts")


async def test_a_dropped_database_is_gone_even_while_somebody_is_connected(stack):
    url = stack.fresh_database()
    connection = await asyncpg.connect(url)

    stack.drop_database(url)

    with pytest.raises(asyncpg.PostgresError):
        await connection.fetchval("select 1")
    with pytest.raises(asyncpg.InvalidPasswordError):  # the role is gone too
        await asyncpg.connect(url)
    connection.terminate()


async def test_a_copy_has_what_its_original_has_and_is_of_the_same_role(stack, database):
    async with connected(database) as connection:
        await connection.execute("create table kept (id int); insert into kept values (7)")

    url = stack.copy_of(database)
    async with connected(url) as connection:
        await connection.execute("insert into kept values (8)")
        kept = await connection.fetch("select id from kept order by id")
    stack.drop_database(url)

    async with connected(database) as connection:
        assert [row["id"] for row in kept] == [7, 8]
        assert await connection.fetchval("select count(*) from kept") == 1
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(url)


async def test_given_addresses_are_used_and_never_hurt(stack, data):
    given = Stack(
        data,
        environment={
            "KITH_POSTGRES_URL": stack.postgres.admin_url,
            "KITH_KAFKA_BOOTSTRAP": stack.kafka.bootstrap,
            "KITH_REDIS_URL": stack.redis.url,
        },
        services=(),
    )

    with given:
        url = given.fresh_database()
        async with connected(url) as connection:
            assert await connection.fetchval("select 1") == 1
        given.drop_database(url)
        assert given.kafka.bootstrap == stack.kafka.bootstrap
        with pytest.raises(StackError, match="KITH_POSTGRES_URL"):
            given.postgres.kill()
        with pytest.raises(StackError, match="KITH_KAFKA_BOOTSTRAP"):
            given.kafka.pause()
        with pytest.raises(StackError, match="KITH_REDIS_URL"):
            given.redis.kill()

    assert stack.postgres.running
    assert stack.kafka.running
    assert stack.redis.running


def test_a_port_that_somebody_took_meanwhile_is_named(stack):
    stack.postgres.stop()
    port = int(stack.postgres.admin_url.rpartition(":")[2].partition("/")[0])

    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StackError, match=f"port {port}") as refused,
    ):
        stack.postgres.start()

    stack.postgres.start()
    assert "\n" not in str(refused.value)
    assert stack.postgres.running


@pytest.mark.enable_socket
def test_a_port_is_below_those_that_outgoing_connections_are_given():
    assert 1024 < free_port() < 32_768


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_postgres_never_runs_as_root(stack):
    owners = {member.uids().effective for member in stack.postgres.process.family()}

    assert 0 not in owners


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_where_postgres_may_not_enter_its_files_lie_elsewhere(stack, tmp_path):
    """pytest's folders are closed to everybody else, as /root is."""
    kafka_only = {"KITH_KAFKA_BOOTSTRAP": stack.kafka.bootstrap}

    with Stack(tmp_path, services=(), environment=kafka_only) as closed:
        files = closed.postgres.folder
        answered = closed.postgres.running
    shutil.rmtree(files)

    assert answered
    assert files.is_relative_to("/var/lib/kith")


@pytest.mark.connected
def test_a_cluster_id_may_begin_with_a_dash(tmp_path):
    """One in 64 does: it is random, and its characters are those of a URL."""
    addresses.save(replace(addresses.load(tmp_path), kafka_cluster_id=f"-{'A' * 21}"), tmp_path)

    with Stack(tmp_path) as stack:
        assert stack.kafka.running
