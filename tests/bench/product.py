"""Kith's own parts on fresh databases of the run, and generated facts for their logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import analytics.bootstrap
import asyncpg
import contacts.bootstrap
import httpx
import sales.bootstrap
from analytics.engagement.registered import register_models
from analytics.settings import AnalyticsSettings
from contacts.settings import ContactsSettings
from crm_chassis.apikeys import keep_key, new_api_key
from crm_chassis.core import Core, core_of
from crm_events.contacts import OrderCompleted
from crm_events.keys import Kek, wrap
from crm_events.money import Money
from crm_events.sealing import seal
from crm_store.database import close_pool, open_pool
from crm_store.ids import derived_id
from crm_store.log.entries import Fact, NewEvent
from crm_store.migrations.running import migrate
from fastapi import FastAPI
from sales.settings import SalesSettings

from tests.bench.bench import Bench
from tests.bench.load import Sample

KEK = Kek("bench", bytes(range(32)))
KEY = bytes(range(1, 33))
"""Of every customer here: minting is no part of what is measured."""
FACTS = UUID("0d7a2f7e-5a56-5f0e-8f8c-6a4b4c1f0b77")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONNECTIONS = 10
KEYS_AT_ONCE = 20_000
CURRENCY = "EUR"
ADD_KEYS = """
insert into subject_key (key_id, kek_id, wrapped)
select u.key_id, $1, u.wrapped from unnest($2::text[], $3::text[]) as u(key_id, wrapped)
"""
NOTE_CHARACTERS = 8
"""What is left of 300 bytes when ids, money and the seal have taken theirs."""


class Leads:
    """The lease of a relay or a projector, always held: nobody else works here."""

    held = True

    async def wait_held(self, _seconds: float) -> bool:
        return True


@dataclass(frozen=True)
class Contacts:
    """contacts as its processes put it together, on a fresh migrated database; nothing runs."""

    url: str
    settings: ContactsSettings
    core: Core

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[httpx.AsyncClient]:
        """A caller of its API within this process: everything but the sockets."""
        app = contacts.bootstrap.application(self.settings, self.core, stalled=tuple)
        async with _asked(app, self.core.pool, "people:read") as client:
            yield client


@dataclass(frozen=True)
class Analytics:
    """analytics, likewise."""

    url: str
    settings: AnalyticsSettings
    core: analytics.bootstrap.Core

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[httpx.AsyncClient]:
        """A caller of its API within this process: everything but the sockets."""
        app = analytics.bootstrap.application(self.settings, self.core, stalled=tuple)
        async with _asked(app, self.core.pool, "scores:read") as client:
            yield client


@dataclass(frozen=True)
class Sales:
    """sales, likewise."""

    url: str
    settings: SalesSettings
    core: Core


@asynccontextmanager
async def contacts_on(bench: Bench, *, connections: int = CONNECTIONS) -> AsyncIterator[Contacts]:
    async with bench.database() as url:
        settings = ContactsSettings(digest_key=KEK.material, **_settings(bench, url))
        async with _pool(url, contacts.bootstrap.MIGRATIONS, connections) as pool:
            yield Contacts(url, settings, core_of(settings, pool))


@asynccontextmanager
async def analytics_on(bench: Bench, *, connections: int = CONNECTIONS) -> AsyncIterator[Analytics]:
    async with bench.database() as url:
        settings = AnalyticsSettings(**_settings(bench, url))
        async with _pool(url, analytics.bootstrap.MIGRATIONS, connections) as pool:
            core = analytics.bootstrap.Core.of(settings, pool)
            await register_models(pool, core.models)
            yield Analytics(url, settings, core)


@asynccontextmanager
async def sales_on(bench: Bench, *, connections: int = CONNECTIONS) -> AsyncIterator[Sales]:
    async with bench.database() as url:
        settings = SalesSettings(**_settings(bench, url))
        async with _pool(url, sales.bootstrap.MIGRATIONS, connections) as pool:
            yield Sales(url, settings, core_of(settings, pool))


async def mint(pool: asyncpg.Pool, customers: Iterable[UUID]) -> None:
    """Give these customers a subject key, as contacts does when it registers them."""
    key_ids = [str(one) for one in dict.fromkeys(customers)]
    for first in range(0, len(key_ids), KEYS_AT_ONCE):
        part = key_ids[first : first + KEYS_AT_ONCE]
        wrapped = [wrap(KEY, key_id=key_id, kek=KEK) for key_id in part]
        await pool.execute(
            ADD_KEYS,
            KEK.kek_id,
            part,
            wrapped,
        )


def order(sample: Sample) -> Fact:
    """A purchase of the sample's value. As the log keeps it, sealed, it has about 300 bytes.

    `buying` counts and sums it and no cap of the score touches it: the oracle is `totals`.
    """
    event = OrderCompleted(
        customer_id=sample.customer_id,
        message_id=f"m{sample.number}",
        source="bench",
        order_id=f"o{sample.number}",
        total=Money(amount=Decimal(sample.value) / 100, currency=CURRENCY),
        properties={"n": sample.note[:NOTE_CHARACTERS]},
    )
    occurred_at = EPOCH + timedelta(milliseconds=sample.at_ms)
    new = NewEvent(event, sample.event_id, occurred_at, sample.customer_id)
    return Fact(derived_id(FACTS, event.message_id), new)


def stored(fact: Fact) -> str:
    """The JSON that `Log.append` would write of a fact of `order`."""
    new = fact.event
    keys = {str(new.partition_key): KEY}
    return seal(new.event, event_id=new.event_id, subject=new.partition_key, keys=keys)


def _settings(bench: Bench, url: str) -> dict[str, Any]:
    return {
        "database_url": url,
        "kafka_bootstrap": bench.kafka,
        "kafka_replication_factor": 1,
        "kafka_min_insync": 1,
        "http_port": 1,  # nothing listens
        "keks": (KEK,),
        "instance": "bench",
    }


@asynccontextmanager
async def _pool(url: str, migrations: str, connections: int) -> AsyncIterator[asyncpg.Pool]:
    await migrate(url, migrations, beat=lambda: None, stop=asyncio.Event())
    async with open_pool(url, application_name="bench", max_size=connections) as pool:
        yield pool
        await close_pool(pool)


@asynccontextmanager
async def _asked(app: FastAPI, pool: asyncpg.Pool, scope: str) -> AsyncIterator[httpx.AsyncClient]:
    key = new_api_key()
    await keep_key(pool, key, name="bench", scopes=[scope])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://bench",
        headers={"Authorization": f"Bearer {key}"},
    ) as client:
        yield client
