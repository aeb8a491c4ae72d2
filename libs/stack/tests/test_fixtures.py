import asyncio
import socket

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def test_a_fresh_database_belongs_to_a_role_that_is_no_superuser(database):
    connection = await asyncpg.connect(database)

    await connection.execute("create table mine (id int)")
    superuser = await connection.fetchval(
        "select usesuper from pg_user where usename = current_user"
    )

    await connection.close()
    assert superuser is False


async def test_the_role_of_a_fresh_database_may_connect_nowhere_else(stack, database):
    role = database.rpartition("/")[0]

    for other in ("postgres", "template1", "contacts"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(f"{role}/{other}")


async def test_a_topic_can_be_made_at_once(kafka, topic_name):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()

    await admin.create_topics([NewTopic(topic_name, 2, 1)])
    topics = await admin.list_topics()

    await admin.close()
    assert topic_name in topics


def test_a_test_on_real_servers_is_marked_connected(stack, request):
    assert request.node.get_closest_marker("connected")


def test_a_test_without_servers_has_no_network(request):
    assert not request.node.get_closest_marker("connected")

    with pytest.warns(UserWarning, match="socket"), pytest.raises(RuntimeError):
        socket.create_connection(("127.0.0.1", 9), timeout=1)


async def test_a_test_without_network_still_has_an_event_loop():
    woken = asyncio.Event()
    asyncio.get_running_loop().call_soon_threadsafe(woken.set)

    await asyncio.wait_for(woken.wait(), 60)

    assert woken.is_set()
