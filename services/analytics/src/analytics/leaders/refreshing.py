"""Keeps the leaders in Redis level with `standing`: what was marked is read afresh and set there.

A process that begins, finds another run of Redis or finds its build gone fills Redis anew; until
that is done leaders come from PostgreSQL.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from crm_store.errors import backoff
from crm_store.ids import new_id
from crm_store.turns import take_turns
from prometheus_client import Counter

from analytics.leaders.ranked import BELIEVED_MS, RedisAwayError
from analytics.leaders.standings import (
    clear,
    clear_all,
    read_all,
    read_marked,
    read_owed,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import asyncpg
    from crm_store.lease import Lease
    from crm_store.log.append import Log

    from analytics.engagement.model import ScoringModel
    from analytics.leaders.ranked import Ranked

LOOK_EVERY_SECONDS: Final = 0.2
MOST_AT_ONCE: Final = 1_000

BUILT = Counter(
    "analytics_leaders_built_total", "Times that the leaders in Redis were filled from PostgreSQL."
)

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Build:
    """A copy that this process has filled, in this run of Redis."""

    build: str
    run_id: str


class Refreshing:
    """The one that writes leaders to Redis, while the lease is held."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        log: Log,
        ranked: Ranked,
        models: Sequence[ScoringModel],
        lease: Lease,
    ) -> None:
        self._pool = pool
        self._ranked = ranked
        self._models = tuple(models)
        self._lease = lease
        self._builds: dict[int, Build] = {}
        self._failures = 0
        self._not_before = 0.0
        log.forget_with(self._forget)

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Make level until `stop`."""
        await take_turns(
            "leaders",
            self.turn,
            lease=self._lease,
            every_s=LOOK_EVERY_SECONDS,
            stop=stop,
            beat=beat,
        )

    async def turn(self, *, beat: Callable[[], None] = lambda: None) -> bool:
        """Take a thousand marks of each model; are there more? An outage of Redis is waited for."""
        if time.monotonic() < self._not_before:
            return False
        try:
            more = [await self.refresh(model.model_id, beat=beat) for model in self._models]
        except RedisAwayError as error:
            if not self._failures:
                _logger.warning("leaders.redis_away", error=str(error))
            self._not_before = time.monotonic() + backoff(self._failures)
            self._failures += 1
            return False
        self._failures = 0
        return any(more)

    async def refresh(self, model_id: int, *, beat: Callable[[], None] = lambda: None) -> bool:
        """Set what was marked; with nothing more marked the copy is level. Is there more?"""
        run_id = await self._ranked.run_id()
        present = self._builds.get(model_id)
        if present is None or present.run_id != run_id:
            present = await self._build(model_id, run_id, beat=beat)
            if present is None:
                return True
        began = time.monotonic()
        owed_seconds = await read_owed(self._pool, model_id)
        marked = await read_marked(self._pool, model_id, limit=MOST_AT_ONCE)
        more = len(marked) == MOST_AT_ONCE
        spent_ms = round((time.monotonic() - began) * 1_000)
        written = await self._ranked.put(
            model_id,
            present.build,
            [one.standing for one in marked],
            believed_ms=0 if more else max(BELIEVED_MS - spent_ms, 1),
            owed_seconds=owed_seconds,
        )
        if not written:  # it was flushed, or another process began a build
            self._builds.pop(model_id, None)
            return True
        if marked:
            await clear(self._pool, model_id, marked)
        return more

    def _forget(self) -> None:
        """In a restored database others may stand, also for a build that is just being filled."""
        self._builds = {}

    async def _build(self, model_id: int, run_id: str, *, beat: Callable[[], None]) -> Build | None:
        """Fill Redis anew; None where it was flushed or begun by another process meanwhile."""
        build, builds = Build(str(new_id()), run_id), self._builds
        await self._ranked.begin(model_id, build.build)
        await clear_all(self._pool, model_id)  # what is marked from now on comes behind
        after, count = None, 0
        while True:
            beat()
            page = await read_all(self._pool, model_id, after=after, limit=MOST_AT_ONCE)
            if page and not await self._ranked.put(model_id, build.build, page):
                return None
            count += len(page)
            if len(page) < MOST_AT_ONCE:
                break
            after = page[-1].customer_id
        builds[model_id] = build
        BUILT.inc()
        _logger.info("leaders.built", standings=count)
        return build
