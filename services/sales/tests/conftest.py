"""sales on a real PostgreSQL, without Kafka: everything between HTTP and its read models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from crm_chassis.apikeys import keep_key, new_api_key
from crm_chassis.core import Core, core_of
from crm_events.contacts import Identifier, MemberFact, Namespace, PersonRegistered
from crm_events.keys import Kek, new_key, wrap
from crm_events.sealing import seal
from crm_events.topics import CONTRACT
from crm_projections.projector import Projector
from crm_store.database import close_pool, open_pool
from crm_store.ids import new_id
from crm_store.migrations.running import migrate
from fastapi import FastAPI
from sales.bootstrap import MIGRATIONS, READ_MODELS, application
from sales.settings import SalesSettings
from summing import HeldLease
from told import NOW, OWNER, PIPELINES

KEK = Kek("kek1", bytes(range(32)))
SCOPES = ("deals:read", "deals:write", "tasks:read", "tasks:write")
EMPTY = """
do $$ declare t text; begin
    -- Quicker than truncate, which makes new files, for the few rows that a test leaves.
    for t in select quote_ident(tablename) from pg_tables
             where schemaname = 'public' and tablename not in ('alembic_version', 'log_epoch')
    loop execute 'delete from ' || t; end loop;
end $$
"""
BEHIND = """
select count(*) < 2 or bool_or(exists (
    select from log l where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp)
) and c.stopped is null) from projection_checkpoint c where c.name = any($1)
"""
STOPPED = "select stopped from projection_checkpoint where name = any($1)"
HEAR = """
insert into log (epoch, occurred_at, recorded_at, heard_at, sequence, version, schema_version,
                 partition, stream_id, event_id, partition_key, type, topic, data)
values (1, $1, $1, now(), $2, $3, 1, 0, $4, $5, $4, $6, $7, $8::json)
"""
KEEP_KEY = """
insert into subject_key (key_id, kek_id, wrapped) values ($1, $2, $3) on conflict do nothing
"""


@dataclass
class Sales:
    """The service as a test meets it."""

    settings: SalesSettings
    pool: asyncpg.Pool
    core: Core
    app: FastAPI
    http: httpx.AsyncClient
    now: list[datetime] = field(default_factory=lambda: [NOW])
    keys: dict[str, bytes] = field(default_factory=dict)
    heard: int = 0

    async def hear(self, *events: Any) -> None:
        """Write events of people or members to the log as the inbox would, sealed."""
        for event in events:
            self.heard += 1
            subject = event.member_id if isinstance(event, MemberFact) else event.customer_id
            key_id, event_id = str(subject), new_id()
            material = self.keys.setdefault(key_id, new_key())
            wrapped = wrap(material, key_id=key_id, kek=KEK)
            await self.pool.execute(KEEP_KEY, key_id, KEK.kek_id, wrapped)
            await self.pool.execute(
                HEAR,
                self.now[0],
                self.heard,
                self.heard,
                subject,
                event_id,
                event.type,
                CONTRACT.by_type[event.type].name,
                seal(event, event_id=event_id, subject=subject, keys=self.keys),
            )

    async def customer(self, number: int = 1, **profile: Any) -> UUID:
        """A customer that contacts told of."""
        customer_id = UUID(int=number)
        mail = f"{number}@x.test"
        one = Identifier(namespace=Namespace.MAIL, value=mail, given=mail)
        await self.hear(
            PersonRegistered(customer_id=customer_id, identifiers=(one,), profile=profile)
        )
        await self.fold()
        return customer_id

    async def open(self, customer_id: UUID, **fields: Any) -> str:
        """A deal with that customer; its path."""
        answer = await self.http.post("/deals", json=opening(customer_id, **fields))
        assert answer.status_code == 201, answer.text
        return f"/deals/{answer.json()['stream_id']}"

    async def events(self) -> list[Any]:
        """The events of deals as they were appended, opened."""
        rows = await self.pool.fetch(
            "select l.*, l.xid::text as xid, l.meta::text as meta from log l"
            " where l.topic = 'sales.deals' order by l.gp"
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
        names = [model.name for model in READ_MODELS]
        async with asyncio.timeout(60):
            while await self.pool.fetchval(BEHIND, names):
                # Another database's open transaction may hold the tail back for a moment.
                await projector.turn() or await asyncio.sleep(0.01)
        stopped = await self.pool.fetch(STOPPED, names)
        assert [row["stopped"] for row in stopped] == [None] * len(READ_MODELS)


def opening(customer_id: UUID, **fields: Any) -> dict[str, Any]:
    return {
        "customer_id": str(customer_id),
        "pipeline": "short",
        "title": "Cups for the café",
        "owner_id": str(OWNER),
        **fields,
    }


def settings_for(database: str, **told: Any) -> SalesSettings:
    return SalesSettings(
        **{
            "database_url": database,
            "kafka_bootstrap": "127.0.0.1:9",
            "http_port": 8083,
            "keks": (KEK,),
            "pipelines": PIPELINES,
            "time_zone": "Europe/Zurich",
            **told,
        }
    )


@pytest.fixture(scope="session")
def migrated(stack) -> Iterator[str]:
    """A database of sales, one for all tests: making one takes longer than most of them."""
    database = stack.fresh_database()
    asyncio.run(migrate(database, MIGRATIONS, beat=lambda: None, stop=asyncio.Event()))
    yield database
    stack.drop_database(database)


@pytest.fixture
async def sales(migrated: str) -> AsyncIterator[Sales]:
    settings = settings_for(migrated)
    now = [NOW]
    async with open_pool(migrated, application_name="test", max_size=20) as pool:
        await pool.execute(EMPTY)
        core = core_of(settings, pool, clock=lambda: now[0])
        app = application(settings, core, stalled=tuple)
        key = new_api_key()
        await keep_key(pool, key, name="tests", scopes=SCOPES)
        async with client(app, key) as http:
            yield Sales(settings, pool, core, app, http, now)
        await close_pool(pool)


@pytest.fixture
async def other(sales: Sales) -> AsyncIterator[httpx.AsyncClient]:
    """A second process of the service: its own pool, its own memory, the same database."""
    database = sales.settings.database_url.get_secret_value()
    async with open_pool(database, application_name="other", max_size=5) as pool:
        core = core_of(sales.settings, pool, clock=lambda: sales.now[0])
        app = application(sales.settings, core, stalled=tuple)
        async with client(app, sales.http.headers["Authorization"].removeprefix("Bearer ")) as http:
            yield http
        await close_pool(pool)


def client(app: FastAPI, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://sales",
        headers={"Authorization": f"Bearer {key}"},
    )
