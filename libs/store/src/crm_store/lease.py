"""One lease per service: who relays and folds. It saves work; checkpoints are what fences."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import structlog

from crm_store import metrics
from crm_store.database import pause
from crm_store.errors import is_dependency_error

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

RENEW_EVERY_SECONDS: Final = 0.5
EXPIRES_SECONDS: Final = 1.5

LEAST_WAIT_SECONDS: Final = 0.02

# Whether it was taken; where it was not, for how many seconds it is still another's.
TAKE: Final = """
with taken as (
    insert into lease as l (name, owner, until)
    values ($1, $2, clock_timestamp() + make_interval(secs => $3))
    on conflict (name) do update set owner = excluded.owner, until = excluded.until
    where l.owner = excluded.owner or l.until < clock_timestamp()
    returning 1)
select exists (select from taken) as taken,
       (select extract(epoch from until - clock_timestamp())::float8 from lease where name = $1)
           as remaining
"""
GIVE_BACK: Final = "delete from lease where name = $1 and owner = $2"

_logger = structlog.stdlib.get_logger(__name__)


class Lease:
    """Held from a renewal on for 1.5 s by this process's own monotonic clock.

    A frozen process finds it lost as soon as it runs again. Renewed every 500 ms whatever
    PostgreSQL is busy with, by a task and a connection of its own.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        name: str,
        owner: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._name = name
        self._owner = owner
        self._monotonic = monotonic
        self._until = float("-inf")
        self._refused = False
        self._changed = asyncio.Event()

    @property
    def refused(self) -> bool:
        """The last renewal found that another process has it."""
        return self._refused

    @property
    def held(self) -> bool:
        return self._monotonic() < self._until

    async def wait_held(self, seconds: float) -> bool:
        """Wait until it is held, at most so long."""
        if not self.held:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)
        return self.held

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Take and renew until `stop`, then give it back so that the next need not wait."""
        had = False
        while not stop.is_set():
            beat()
            again_s = await self._renew()
            if self.held != had:
                had = self.held
                metrics.LEASE_HELD.labels(lease=self._name).set(int(had))
                _logger.info("lease.taken" if had else "lease.lost", name=self._name)
            await pause(stop, again_s)
        self._until = float("-inf")
        try:
            await self._pool.execute(GIVE_BACK, self._name, self._owner, timeout=1)
        except Exception as error:
            if not is_dependency_error(error):
                raise

    async def _renew(self) -> float:
        """Take or renew it; after how many seconds again."""
        began = self._monotonic()
        try:
            [row] = await self._pool.fetch(
                TAKE, self._name, self._owner, EXPIRES_SECONDS, timeout=EXPIRES_SECONDS
            )
        except Exception as error:
            if not is_dependency_error(error):
                raise
            return RENEW_EVERY_SECONDS
        self._refused = not row["taken"]
        if not self._refused:
            self._until = began + EXPIRES_SECONDS
            self._changed.set()
            return RENEW_EVERY_SECONDS
        self._until = float("-inf")
        # Whoever had it may be dead: it is taken when it expires, not at the next look.
        return min(max(row["remaining"] or 0.0, LEAST_WAIT_SECONDS), RENEW_EVERY_SECONDS)
