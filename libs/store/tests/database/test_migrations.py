from __future__ import annotations

import asyncio
import sys

import asyncpg
import pytest
from crm_store import migrations
from crm_store.database import close_pool, open_pool
from crm_store.migrations import running

ENVIRONMENT = """
from alembic import context
from crm_store.migrations.running import run_environment
run_environment(context)
"""
FIRST = """
from alembic import op
from crm_store.migrations import apply_chassis
revision, down_revision = "0001", None
def upgrade():
    apply_chassis(op, "v1")
    op.execute("create table own (a int)")
"""
BROKEN = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("create table half (a int)")
    op.execute("select 1 / 0")
"""


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service's package with one migration; where Alembic finds it."""
    versions = tmp_path / "migrated_service" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "migrated_service" / "__init__.py").touch()
    (versions.parent / "env.py").write_text(ENVIRONMENT)
    (versions / "0001_first.py").write_text(FIRST)
    monkeypatch.syspath_prepend(tmp_path)
    yield versions
    sys.modules.pop("migrated_service", None)


@pytest.fixture
async def connection(database):
    opened = await asyncpg.connect(database)
    yield opened
    await opened.close()


async def migrate(database):
    return await running.migrate(
        database, "migrated_service:migrations", beat=lambda: None, stop=asyncio.Event()
    )


async def test_replicas_that_migrate_at_once_leave_one_set_of_tables(database, service, connection):
    done = await asyncio.gather(*(migrate(database) for _ in range(3)))

    assert done == [True, True, True]
    assert await connection.fetchval("select version_num from alembic_version") == "0001"
    assert await connection.fetchval("select count(*) from log_epoch") == 1
    assert await connection.fetchval("select to_regclass('own') is not null")


async def test_a_migration_that_fails_leaves_nothing_of_itself(database, service, connection):
    await migrate(database)
    (service / "0002_broken.py").write_text(BROKEN)

    with pytest.raises(Exception, match="division by zero"):
        await migrate(database)

    assert await connection.fetchval("select version_num from alembic_version") == "0001"
    assert await connection.fetchval("select to_regclass('half')") is None


async def test_a_migration_waits_for_a_busy_table_without_stopping_its_writers(
    database, service, connection
):
    await migrate(database)
    (service / "0002_column.py").write_text(
        FIRST.replace('"0001", None', '"0002", "0001"')
        .replace('apply_chassis(op, "v1")', "")
        .replace("create table own (a int)", "alter table own add column b int")
    )
    refused = asyncio.Event()
    async with connection.transaction():
        await connection.execute("select * from own")  # holds a lock that `alter` waits for

        migrating = asyncio.create_task(
            running.migrate(
                database,
                "migrated_service:migrations",
                beat=Counted(refused, 2),
                stop=asyncio.Event(),
            )
        )
        await asyncio.wait_for(refused.wait(), 60)

    assert await asyncio.wait_for(migrating, 60)
    assert await connection.fetchval("select version_num from alembic_version") == "0002"


async def test_a_release_waits_for_its_own_migrations_and_not_for_a_later_ones(
    database, service, connection
):
    async def current():
        migrations._revisions.cache_clear()  # each time as another release's process
        async with open_pool(database, application_name="probe", max_size=1) as pool:
            found = await migrations.is_current(pool, "migrated_service:migrations")
            await close_pool(pool)
            return found

    empty = await current()
    await migrate(database)
    done = await current()
    (service / "0002_later.py").write_text(BROKEN)
    behind = await current()
    await connection.execute("update alembic_version set version_num = '0003'")
    ahead = await current()

    assert (empty, done, behind, ahead) == (False, True, False, True)


class Counted:
    """A heart whose n-th beat is told: with it a second try begins."""

    def __init__(self, told: asyncio.Event, number: int) -> None:
        self.told, self.number = told, number

    def __call__(self) -> None:
        self.number -= 1
        if self.number == 0:
            self.told.set()
