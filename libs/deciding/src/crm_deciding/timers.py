"""Timers that are due: each becomes a command; what follows clears it in the same transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from crm_events.errors import DestroyedKeyError
from crm_projections.checkpoints import write_behind
from crm_store import metrics
from crm_store.errors import LOST, is_dependency_error, sqlstate
from crm_store.log.entries import Statement
from crm_store.log.retried import TooManyConflictsError, retried
from crm_store.tracing import trace_of
from crm_store.turns import take_turns

from crm_deciding.decider import Timer
from crm_deciding.draft import Cause, Draft
from crm_deciding.refusal import Refusal
from crm_deciding.refused import ERASED, Refused, noted
from crm_deciding.retiming import Retiming

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from uuid import UUID

    import asyncpg
    from crm_store.clock import Clock
    from crm_store.lease import Lease
    from crm_store.log.append import Log

    from crm_deciding.decider import Decider

LOOK_EVERY_S: Final = 1.0
AT_ONCE: Final = 100
AGAIN_AFTER: Final = timedelta(minutes=10)
"""A timer that its stream cannot be told of is put off by so much, and reported each time."""

DUE: Final = """
select t.stream_id, t.name, t.decider, t.due_at from timer t
where t.due_at <= $1 and t.decider = any($2::text[]) order by t.due_at, t.stream_id limit $3
"""
RANG: Final = "delete from timer where stream_id = $1 and name = $2 and due_at = $3"
AGAIN: Final = """
update timer set due_at = $4 where stream_id = $1 and name = $2 and due_at = $3
"""

_logger = structlog.stdlib.get_logger(__name__)


class Timers:
    """Rings timers while the lease is held: within about a second of when they are due."""

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        log: Log,
        deciders: Sequence[Decider[Any, Any]],
        lease: Lease,
        clock: Clock,
        mint_id: Callable[[], UUID],
    ) -> None:
        self._pool = pool
        self._log = log
        self._deciders = {decider.name: decider for decider in deciders}
        self._lease = lease
        self._clock = clock
        self._mint_id = mint_id
        timed = [decider for decider in deciders if decider.begins]
        self._retiming = Retiming(pool=pool, log=log, deciders=timed)

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Ring until `stop`; finishes the timer it is at."""
        await take_turns(
            "timers", self.turn, lease=self._lease, every_s=LOOK_EVERY_S, stop=stop, beat=beat
        )

    async def turn(self, *, beat: Callable[[], None] = lambda: None) -> bool:
        """Make anew what is to be, ring what is due, at most 100; is there more at once?"""
        more = await self._retiming.turn()
        now = self._clock()
        rows = await self._pool.fetch(DUE, now, list(self._deciders), AT_ONCE)
        late = (now - rows[0]["due_at"]).total_seconds() if rows else 0.0
        metrics.TIMERS_LATE_SECONDS.set(late)
        for row in rows:
            beat()
            if not self._lease.held:
                return False
            timer = Timer(row["name"], row["due_at"])
            await self._ring(self._deciders[row["decider"]], row["stream_id"], timer)
        return more or len(rows) == AT_ONCE

    async def _ring(self, decider: Decider[Any, Any], stream_id: UUID, timer: Timer) -> None:
        place = (stream_id, timer.name, timer.due_at)
        try:
            await retried(lambda: self._tell(decider, stream_id, timer))
        except TooManyConflictsError:
            return  # it is still due
        except Exception as error:
            if sqlstate(error) == LOST:
                return  # it was set anew or cleared meanwhile, or another process rang it
            if is_dependency_error(error):
                raise
            _logger.exception("timer.broken", decider=decider.name, timer=timer.name)
            await self._pool.execute(AGAIN, *place, self._clock() + AGAIN_AFTER)

    async def _tell(self, decider: Decider[Any, Any], stream_id: UUID, timer: Timer) -> None:
        """Decide and append. Raises VersionConflictError, and KM001 where it is no timer now."""
        rang = Statement(RANG, (stream_id, timer.name, timer.due_at))
        draft = await Draft.on(self._log, mint_id=self._mint_id)
        refused: list[Refused] = []
        try:
            command = decider.ring(stream_id, timer)
            since = await draft.set_by(decider, stream_id, timer)
            cause = Cause(self._clock(), {} if since is None else trace_of(since.recorded.meta))
            await draft.apply(decider, stream_id, command, cause=cause)
        except Refusal as refusal:
            refused.append(Refused.of(stream_id, refusal))
        after, fence = draft.timer(stream_id, timer.name), rang
        if after is not None and after.due_at > timer.due_at:
            fence = Statement(AGAIN, (stream_id, timer.name, timer.due_at, after.due_at))
        if draft.appends:
            others = draft.timers(but=(stream_id, timer.name))
            try:
                await self._log.append(
                    epoch=draft.epoch, streams=draft.appends, also=others, fence=fence
                )
            except DestroyedKeyError:
                refused.append(Refused(stream_id, ERASED, "The subject was erased."))
            else:
                metrics.TIMERS.labels(decider=decider.name, outcome="acted").inc()
                return
        await self._log.confirm(draft.epoch)
        await write_behind(rang if refused else fence, self._pool, noted(decider.name, refused))
        outcome = "refused" if refused else "acted"
        metrics.TIMERS.labels(decider=decider.name, outcome=outcome).inc()
