"""A PostgreSQL is lost and got back, in each way that an operator has."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from crm_stack import restoring
from crm_stack.errors import StackError
from crm_stack.stack import Stack

pytestmark = [pytest.mark.connected]
KAFKA = {"KITH_KAFKA_BOOTSTRAP": "127.0.0.1:9"}  # nothing here asks for it


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: what is restored takes every database of the server along."""
    with Stack(services=("contacts",), environment=KAFKA) as stack:
        yield stack


@pytest.fixture
def contacts(stack) -> str:
    """The URL of a database with one row; the same before and after every restore."""
    url = stack.service_database("contacts")
    ask(url, "create table if not exists kept (id int primary key)")
    ask(url, "truncate kept")
    ask(url, "insert into kept values (1)")
    return url


async def asked(url, sql):
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return [row[0] for row in await connection.fetch(sql)]
    finally:
        await connection.close()


def ask(url, sql):
    return asyncio.run(asked(url, sql))


def rows(url):
    return ask(url, "select id from kept order by id")


def at(server, url):
    """The URL of the same database in another server."""
    place = url.rpartition("@")[2].partition("/")[0]
    return url.replace(place, f"127.0.0.1:{server.port}")


def test_a_base_backup_put_back_is_the_server_as_it_was_at_its_address(stack, contacts):
    backup = restoring.base_backup(stack.postgres, "before")
    ask(contacts, "insert into kept values (2)")

    restoring.put_back(stack.postgres, backup)

    assert rows(contacts) == [1]
    ask(contacts, "insert into kept values (3)")
    with pytest.raises(StackError, match="there already"):
        restoring.base_backup(stack.postgres, "before")


def test_a_standby_streams_and_refuses_writes_until_it_is_promoted(stack, contacts):
    standby = stack.another_postgres("standby")
    restoring.follow(standby, stack.postgres)
    ask(contacts, "insert into kept values (2)")
    restoring.wait_level(standby, stack.postgres)
    there = at(standby, contacts)

    streamed = rows(there)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        ask(there, "insert into kept values (3)")
    was_standby = restoring.is_standby(standby)
    restoring.promote(standby)
    ask(there, "insert into kept values (3)")

    assert streamed == [1, 2]
    assert was_standby
    assert not restoring.is_standby(standby)
    assert rows(there) == [1, 2, 3]
    assert rows(contacts) == [1, 2]
    standby.stop()


def test_a_stale_standby_takes_the_address_and_knows_nothing_of_the_time_between(stack, contacts):
    standby = stack.another_postgres("stale")
    restoring.follow(standby, stack.postgres)
    ask(contacts, "insert into kept values (2)")
    restoring.wait_level(standby, stack.postgres)
    standby.stop()
    ask(contacts, "insert into kept values (3)")

    stack.postgres.kill()
    restoring.put_back(stack.postgres, standby.data)
    restoring.promote(stack.postgres)

    assert rows(contacts) == [1, 2]
    ask(contacts, "insert into kept values (4)")
    assert rows(contacts) == [1, 2, 4]


def test_a_dump_is_loaded_into_a_new_cluster_under_the_same_address(stack, contacts):
    system = "select system_identifier::text from pg_control_system()"
    before = ask(stack.postgres.admin_url, system)
    archive = restoring.dump(stack.postgres, contacts)

    restoring.renew(stack.postgres)
    stack.up()
    restoring.load(stack.postgres, contacts, archive)

    assert rows(contacts) == [1]
    assert ask(contacts, "select tableowner from pg_tables where tablename = 'kept'") == [
        "contacts"
    ]
    assert ask(stack.postgres.admin_url, system) != before


def test_what_pg_restore_cannot_do_is_said_in_one_line(stack, contacts):
    archive = restoring.dump(stack.postgres, contacts)

    with pytest.raises(StackError, match=r'pg_restore failed: .*"kept" already exists') as refused:
        restoring.load(stack.postgres, contacts, archive)

    assert "\n" not in str(refused.value)


def test_another_server_goes_down_with_the_stack(data):
    stack = Stack(data, services=(), environment=KAFKA).up()
    more = stack.another_postgres("more")
    more.start()
    server = more.process

    stack.down()

    assert not server.alive
