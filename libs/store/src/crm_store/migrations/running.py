"""Running a service's migrations (Alembic): replicas at once, beside a release that is at work."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from crm_store.database import CONNECT_TIMEOUT_S
from crm_store.errors import backoff, is_dependency_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.runtime.environment import EnvironmentContext
    from sqlalchemy.engine import Connection

_logger = structlog.stdlib.get_logger(__name__)

LOCK: Final = 0x6B69_7468  # "kith": one migration at a time in a database
LOCK_WAIT_S: Final = 60.0
LOCK_POLL_S: Final = 0.2
ATTEMPTS: Final = 20
"""Tries of one migration while a writer keeps a table busy or the server is away."""

SESSION: Final = {
    # A lock waited for stops everybody behind us: rather give up and try again.
    "lock_timeout": "1s",
    "timezone": "UTC",
    "application_name": "migrate",
}


class MigrationLockedError(Exception):
    """Another process has been migrating this database for longer than we wait."""


async def migrate(
    dsn: str, location: str, *, beat: Callable[[], None], stop: asyncio.Event
) -> bool:
    """Bring a database to the newest migration in `location` ("contacts:migrations").

    Replicas may do so at once: one works, the others wait. Waits for a server that is away,
    beating, until `stop` (then False). Raises what a migration raises, MigrationLockedError
    after 60 s, and a lock that stays busy after 20 tries.
    """
    refused = 0
    waited = 0
    while not stop.is_set():
        beat()
        try:
            await _upgrade(dsn, location, beat=beat)
        except Exception as error:
            if not is_dependency_error(error):
                raise
            # Only a server that answers uses up the tries.
            refused += isinstance(error, asyncpg.PostgresError)
            if refused >= ATTEMPTS:
                raise
            if waited % 30 == 0:
                _logger.warning("migrate.waiting", because=type(error).__name__)
            await asyncio.sleep(backoff(waited))
            waited += 1
        else:
            return True
    return False


async def _upgrade(dsn: str, location: str, *, beat: Callable[[], None]) -> None:
    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, server_settings=SESSION)

    # The lock has a connection of its own and is asked for, not waited for: a session waiting
    # inside a statement would hold a snapshot, which CREATE INDEX CONCURRENTLY waits for.
    keeper = await connect()
    try:
        await _lock(keeper, beat=beat)
        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
        )
        async with engine.connect() as connection:
            await connection.run_sync(_to_head, location)
            await connection.commit()
    finally:
        keeper.terminate()


async def _lock(keeper: asyncpg.Connection, *, beat: Callable[[], None]) -> None:
    until = time.monotonic() + LOCK_WAIT_S
    while not await keeper.fetchval("select pg_try_advisory_lock($1)", LOCK):
        beat()
        if time.monotonic() > until:
            raise MigrationLockedError(f"another process has been migrating for {LOCK_WAIT_S} s")
        await asyncio.sleep(LOCK_POLL_S)


def _to_head(connection: Connection, location: str) -> None:
    config = _config(location)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config(location: str) -> Config:
    config = Config()
    config.set_main_option("script_location", location)
    config.set_main_option("path_separator", "os")
    return config


def run_environment(context: EnvironmentContext) -> None:
    """The whole of a service's `env.py`: run the migrations on the connection handed over."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=None,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
