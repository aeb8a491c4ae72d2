"""Ending sessions that hold a transaction id too long: they hold back every tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from crm_chassis import metrics
from crm_chassis.database import pause
from crm_chassis.errors import is_dependency_error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import asyncpg

CHECK_EVERY_SECONDS: Final = 1.0
OLDEST_XID_SECONDS: Final = 5.0

# The transaction's start bounds the age of its id from above; only the service's own role is
# looked at, for a role may end its own sessions and no others.
SESSIONS: Final = """
select a.pid, extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds
from pg_stat_activity a
where a.usename = current_user and a.backend_xid is not null and a.pid <> pg_backend_pid()
"""

_logger = structlog.stdlib.get_logger(__name__)


async def end_old_sessions(pool: asyncpg.Pool) -> int:
    """End this role's sessions whose transaction id is older than 5 s; how many were ended.

    Works also where the client is frozen inside a COPY, which no timeout of PostgreSQL ends.
    """
    async with pool.acquire() as connection:
        sessions = await connection.fetch(SESSIONS)
        metrics.LOG_OLDEST_XID_AGE_SECONDS.set(max((row["seconds"] for row in sessions), default=0))
        old = [row for row in sessions if row["seconds"] > OLDEST_XID_SECONDS]
        for row in old:
            await connection.execute("select pg_terminate_backend($1)", row["pid"])
            metrics.LOG_ENDED_SESSIONS.inc()
            _logger.warning(
                "watchdog.session_ended", pid=row["pid"], seconds=round(row["seconds"], 1)
            )
    return len(old)


async def run_watchdog(
    pool: asyncpg.Pool, stop: asyncio.Event, *, beat: Callable[[], None]
) -> None:
    """Look every second until `stop`; an unreachable database is looked at again later."""
    while not stop.is_set():
        beat()
        try:
            await end_old_sessions(pool)
        except Exception as error:
            if not is_dependency_error(error):
                raise
        await pause(stop, CHECK_EVERY_SECONDS)
