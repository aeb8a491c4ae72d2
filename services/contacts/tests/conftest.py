"""contacts on a real PostgreSQL, without Kafka: everything between HTTP and its read models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from contacts.bootstrap import MIGRATIONS, READ_MODELS, application
from contacts.settings import ContactsSettings
from crm_chassis.apikeys import COLLECT, keep_key, new_api_key, new_write_key
from crm_chassis.core import Core, core_of
from crm_events.keys import Kek
from crm_projections.projector import Projector
from crm_store.database import close_pool, open_pool
from crm_store.migrations.running import migrate
from fastapi import FastAPI
from summing import HeldLease

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SCOPES = ("people:read", "people:write", "members:read", "members:write", "collector:read")
EMPTY = """
do $$ declare t text; begin
    -- Quicker than truncate, which makes new files, for the few rows that a test leaves.
    for t in select quote_ident(tablename) from pg_tables
             where schemaname = 'public' and tablename not in ('alembic_version', 'log_epoch')
    loop execute 'delete from ' || t; end loop;
end $$
"""
BEHIND = """
select count(*) < $1 or bool_or(exists (
    select from log l where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp)
) and c.stopped is null) from projection_checkpoint c
"""
TABLES = ("log", "stream", "reservation", "subject_key", "set_aside")


@dataclass
class Contacts:
    """The service as a test meets it."""

    settings: ContactsSettings
    pool: asyncpg.Pool
    core: Core
    app: FastAPI
    http: httpx.AsyncClient
    write_key: str
    now: list[datetime] = field(default_factory=lambda: [NOW])

    async def send(self, *messages: Any, **envelope: Any) -> httpx.Response:
        """One batch."""
        return await self.http.post(
            "/v1/batch", json={"batch": messages, **envelope}, auth=(self.write_key, "")
        )

    async def counts(self) -> dict[str, int]:
        """How many rows there are: what a refused input must not change."""
        return {
            name: await self.pool.fetchval(f"select count(*) from {name}")  # noqa: S608  # constants
            for name in TABLES
        }

    async def events(self, *types: str) -> list[Any]:
        """The events of these types as they were appended, opened."""
        rows = await self.pool.fetch(
            "select l.*, l.xid::text as xid, l.meta::text as meta from log l"
            " where l.type = any($1) or cardinality($1::text[]) = 0 order by l.gp",
            list(types),
        )
        return [one.event for one in await self.core.log.logged(rows, opens=True)]

    async def fold(self) -> None:
        """Bring the read models to the head of the log."""
        lease: Any = HeldLease()
        projector = Projector(
            pool=self.pool,
            log=self.core.log,
            models=READ_MODELS,
            lease=lease,
            wake=asyncio.Event(),
            clock=self.core.clock,
        )
        async with asyncio.timeout(60):
            while await self.pool.fetchval(BEHIND, len(READ_MODELS)):
                # Another database's open transaction may hold the tail back for a moment.
                await projector.turn() or await asyncio.sleep(0.01)
        stopped = await self.pool.fetch("select stopped from projection_checkpoint")
        assert [row["stopped"] for row in stopped] == [None] * len(READ_MODELS)


def settings_for(database: str, **told: Any) -> ContactsSettings:
    return ContactsSettings(
        **{
            "database_url": database,
            "kafka_bootstrap": "127.0.0.1:9",
            "http_port": 8081,
            "keks": (Kek("kek1", bytes(range(32))),),
            "digest_key": bytes(range(32, 64)),
            "region": "US",
            **told,
        }
    )


@pytest.fixture
async def other(contacts: Contacts):
    """A second process of the service: its own pool, its own memory, the same database."""
    database = contacts.settings.database_url.get_secret_value()
    async with open_pool(database, application_name="other", max_size=5) as pool:
        core = core_of(contacts.settings, pool, clock=lambda: contacts.now[0])
        app = application(contacts.settings, core, stalled=tuple)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://other",
            headers=contacts.http.headers,
        ) as http:
            yield Contacts(
                contacts.settings, pool, core, app, http, contacts.write_key, contacts.now
            )
        await close_pool(pool)


@pytest.fixture
def write_key(contacts: Contacts):
    """Makes a write key for another source."""

    async def make(source: str) -> str:
        key = new_write_key()
        await keep_key(contacts.pool, key, name=source, scopes=[COLLECT])
        return key

    return make


@pytest.fixture(scope="session")
def migrated(stack) -> Iterator[str]:
    """A database of contacts, one for all tests: making one takes longer than most of them."""
    database = stack.fresh_database()
    asyncio.run(migrate(database, MIGRATIONS, beat=lambda: None, stop=asyncio.Event()))
    yield database
    stack.drop_database(database)


@pytest.fixture
async def contacts(migrated: str) -> AsyncIterator[Contacts]:
    settings = settings_for(migrated)
    now = [NOW]
    async with open_pool(migrated, application_name="test", max_size=20) as pool:
        await pool.execute(EMPTY)
        core = core_of(settings, pool, clock=lambda: now[0])
        app = application(settings, core, stalled=tuple)
        write_key, api_key = new_write_key(), new_api_key()
        await keep_key(pool, write_key, name="shop", scopes=[COLLECT])
        await keep_key(pool, api_key, name="tests", scopes=SCOPES)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://contacts",
            headers={"Authorization": f"Bearer {api_key}"},
        ) as http:
            yield Contacts(settings, pool, core, app, http, write_key, now)
        await close_pool(pool)
