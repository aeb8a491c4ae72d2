"""Ending sessions that hold a transaction id too long: they hold back every tail."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from crm_store import metrics
from crm_store.database import pause
from crm_store.errors import is_dependency_error

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

# Every id that is open anywhere in the cluster is in it, and any role may ask for it.
SNAPSHOT: Final = """
select pg_snapshot_xmin(s)::text as oldest, pg_snapshot_xmax(s)::text as next
from pg_current_snapshot() s
"""

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class Horizon:
    """Since when one transaction id has been the oldest open one: so long all tails stand."""

    oldest: int = 0
    since: float = 0.0
    told: bool = False

    def seconds(self, oldest: int, following: int, *, now: float) -> float:
        """How long `oldest` has been open as far as was seen, at a monotonic instant.

        `following` is the id that will be given next; where the two are one, none is open.
        """
        if oldest != self.oldest or oldest == following:
            self.oldest, self.since, self.told = oldest, now, False
        return now - self.since


async def look_at_horizon(pool: asyncpg.Pool, horizon: Horizon) -> float:
    """How long the oldest transaction id of the cluster has been open, whoever's it is.

    Told once in the log when it is older than any of our own may become: it is somebody else's,
    and only a superuser can end it.
    """
    row = await pool.fetchrow(SNAPSHOT)
    if row is None:
        raise LookupError("a snapshot is always there")
    now = time.monotonic()
    seconds = horizon.seconds(int(row["oldest"]), int(row["next"]), now=now)
    metrics.LOG_OLDEST_XID_AGE_SECONDS.set(seconds)
    if seconds > 2 * OLDEST_XID_SECONDS and not horizon.told:
        horizon.told = True
        _logger.error("watchdog.tails_held_back", xid=horizon.oldest, seconds=round(seconds))
    return seconds


async def end_old_sessions(pool: asyncpg.Pool) -> int:
    """End this role's sessions whose transaction id is older than 5 s; how many were ended.

    Works also where the client is frozen inside a COPY, which no timeout of PostgreSQL ends.
    """
    async with pool.acquire() as connection:
        sessions = await connection.fetch(SESSIONS)
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
    horizon = Horizon()
    while not stop.is_set():
        beat()
        try:
            await end_old_sessions(pool)
            await look_at_horizon(pool, horizon)
        except Exception as error:
            if not is_dependency_error(error):
                raise
        await pause(stop, CHECK_EVERY_SECONDS)
