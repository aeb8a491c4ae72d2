"""Epochs of the log: which run of which server it is written in, and whether it may be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_store.errors import is_dependency_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import asyncpg

LOOK_AGAIN_S: Final = 0.05

_NEWEST: Final = """
select e.epoch, e.missing, pg_postmaster_start_time() as run,
       coalesce(e.server_started_at = pg_postmaster_start_time() and e.table_oid = e.tableoid,
                false) as of_this_run,
       e.settled_at is not null as settled,
       e.system_identifier <> s.system_identifier::text or e.timeline <> server_timeline()
           as elsewhere
from log_epoch e, pg_control_system() s order by e.epoch desc limit 1
"""
# Nothing where the server is another one by now, or another process was first.
_BEGIN: Final = """
insert into log_epoch (epoch, system_identifier, timeline, server_started_at, table_oid,
                       settled_at, missing)
select $1 + 1, s.system_identifier::text, server_timeline(), pg_postmaster_start_time(),
       to_regclass('log_epoch')::oid, case when $3::bigint = 0 then now() end, $3::bigint
from pg_control_system() s
where pg_postmaster_start_time() = $2 and $1 = (select max(epoch) from log_epoch)
on conflict do nothing
returning epoch
"""
_SETTLE: Final = """
update log_epoch e set settled_at = now(), missing = 0
where e.epoch = $1 and e.settled_at is null and e.server_started_at = pg_postmaster_start_time()
  and e.epoch = (select max(epoch) from log_epoch)
returning 1
"""
_CLOSE: Final = """
update log_epoch set settled_at = null, missing = $2 where epoch = $1
returning clock_timestamp() as at
"""
# A statement that began before the log was closed may still be writing under the old epoch.
_OLDER: Final = """
select exists (
    select from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid() and a.xact_start <= $1)
"""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest epoch, beside the server as it is. `missing` counts records the log lacks.

    `run` says when the server was started. `elsewhere`: the epoch was begun in another cluster, or
    on another timeline.
    """

    epoch: int
    missing: int
    run: datetime
    of_this_run: bool
    settled: bool
    elsewhere: bool

    @property
    def open(self) -> bool:
        """May the log be written to?"""
        return self.of_this_run and self.settled

    @property
    def awaits_recover(self) -> bool:
        return self.of_this_run and not self.settled


async def newest(pool: asyncpg.Pool) -> Newest:
    rows = await pool.fetch(_NEWEST)
    return Newest(**dict(rows[0].items()))


async def begin(pool: asyncpg.Pool, after: Newest, *, missing: int = 0) -> bool:
    """Begin the epoch behind `after`, settled unless records are missing.

    False if the server was exchanged or another process began one meanwhile: look again.
    """
    return bool(await pool.fetchval(_BEGIN, after.epoch, after.run, missing))


async def settle(pool: asyncpg.Pool, epoch: int) -> bool:
    """Nothing is missing any more: the log may be written to. False if it is another by now."""
    return bool(await pool.fetchval(_SETTLE, epoch))


async def close(
    pool: asyncpg.Pool, open_one: Newest, *, missing: int, beat: Callable[[], None]
) -> None:
    """Let nothing more be written, and return when nobody writes under the epoch any more."""
    at = await pool.fetchval(_CLOSE, open_one.epoch, missing)
    while await pool.fetchval(_OLDER, at):
        beat()
        await asyncio.sleep(LOOK_AGAIN_S)


async def tell(pool: asyncpg.Pool) -> str:
    """For people and probes: settled, not-settled, waits-for-recover, or away."""
    try:
        now = await newest(pool)
    except Exception as error:
        if not is_dependency_error(error):
            raise
        return "away"
    if now.open:
        return "settled"
    return "waits-for-recover" if now.awaits_recover else "not-settled"
