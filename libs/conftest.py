"""A log on a real PostgreSQL, in a fresh database for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import asyncpg
import pytest
import structlog
from crm_events.keys import Kek, new_key, wrap
from crm_events.topics import Contract
from crm_stack.processes import run_apart
from crm_stack.stack import Stack
from crm_store import migrations, tracing
from crm_store.clock import utc_now
from crm_store.database import close_pool, open_pool
from crm_store.keyring import Keyring
from crm_store.log.append import Log
from crm_store.log.wakeups import Wakeups
from crm_store.logs import show_error
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from probe import OF_THIS_RUN, THINGS, Noted, Probe


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """structlog's own default draws every stack with all its variables, for seconds each."""
    structlog.configure(processors=[show_error, structlog.processors.LogfmtRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What this process exports of its traces, as if it were told to."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(tracing, "is_on", lambda: True)
    return exporter


@pytest.fixture
def contract() -> Contract:
    return Contract((THINGS,), private=(Noted,))


@pytest.fixture(scope="session")
def template(stack: Stack) -> Iterator[str]:
    """A database with the chassis' tables: tests get copies, for making them takes longer."""
    database = stack.fresh_database()
    run_apart(migrations.install(database))
    yield database
    stack.drop_database(database)


@pytest.fixture
def installed(stack: Stack, template: str) -> Iterator[str]:
    """The URL of a database with the chassis' tables and nothing in them."""
    stack.postgres.restore()
    database = stack.copy_of(template)
    yield database
    stack.postgres.restore()
    stack.drop_database(database)


@pytest.fixture
async def pool(installed: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(installed, application_name="probe", max_size=20) as opened:
        await opened.execute(OF_THIS_RUN)
        yield opened
        await close_pool(opened)


@pytest.fixture
async def probe(pool: asyncpg.Pool, contract: Contract) -> Probe:
    kek = Kek("test", bytes(range(32)))
    keyring, wakeups = Keyring(pool, [kek]), Wakeups(pool)

    async def mint(customer: UUID) -> None:
        key = new_key()
        await pool.execute(
            "insert into subject_key (key_id, kek_id, wrapped) values ($1, $2, $3)",
            str(customer),
            kek.kek_id,
            wrap(key, key_id=str(customer), kek=kek),
        )

    log = Log(pool=pool, contract=contract, keyring=keyring, clock=utc_now, wakeups=wakeups)
    return Probe(pool, log, keyring, contract, wakeups, mint)
