"""Connections to PostgreSQL, with the limits every session of a running service lives under."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from crm_store.errors import backoff, is_dependency_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_logger = structlog.stdlib.get_logger(__name__)

CONNECT_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 10.0
"""Bounds what no setting of the server bounds: a server that is frozen or cut off."""

SESSION_LIMITS: Final = {
    # An open transaction id holds every tail of the cluster back: none may stay open.
    "idle_in_transaction_session_timeout": "2s",
    "transaction_timeout": "5s",
    "statement_timeout": "4500ms",
    "jit": "off",
    "timezone": "UTC",
}


def open_pool(
    dsn: str, *, application_name: str, max_size: int, schemas: str | None = None
) -> asyncpg.Pool:
    """A pool that connects when it is first asked, so a service starts before its server does.

    `schemas`: where its sessions look for tables, as SQL; else as the role does.

    Enter it (`async with`) or await it, which opens nothing. Only a server that takes writes is
    connected to; a connection whose server turned read-only makes the pool renew them all.
    """

    async def keep(connection: asyncpg.Connection) -> None:
        # Called at each release in place of asyncpg's reset query, which costs a round trip.
        # The server reports both settings unasked when they change.
        settings = connection.get_settings()
        if "on" in (settings.default_transaction_read_only, settings.in_hot_standby):
            await pool.expire_connections()

    pool = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        target_session_attrs="read-write",
        reset=keep,
        server_settings={
            **SESSION_LIMITS,
            "application_name": application_name,
            **({} if schemas is None else {"search_path": schemas}),
        },
    )
    return pool


async def close_pool(pool: asyncpg.Pool, *, within_s: float = 2.0) -> None:
    """Close when all have given their connections back, or break them off when they do not."""
    try:
        async with asyncio.timeout(within_s):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def wait_until_migrated(
    check: Callable[[], Awaitable[bool]], stop: asyncio.Event, *, beat: Callable[[], None]
) -> bool:
    """Wait, without limit and beating, until `check` finds a server that answers and is migrated.

    False if `stop` was set first. An outage is no reason to end a process: others would only
    start it again.
    """
    attempt = 0
    while not stop.is_set():
        beat()
        try:
            if await check():
                return True
            reason = "not migrated"
        except Exception as error:
            if not is_dependency_error(error):
                raise
            reason = type(error).__name__
        if attempt % 30 == 0:  # with the longest wait about twice a minute
            _logger.warning("database.waiting", reason=reason)
        await pause(stop, backoff(attempt))
        attempt += 1
    return False


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait that long, or less if `stop` is set meanwhile. True if it is."""
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return stop.is_set()
