"""Folding the log into read models: one owner, a checkpoint each, everything once."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog
from crm_events.errors import MissingKeyError
from crm_store import metrics, tracing
from crm_store.database import pause
from crm_store.errors import LOST, backoff, is_dependency_error, sqlstate
from crm_store.log.entries import VersionConflictError
from crm_store.log.position import LAST
from crm_store.log.tail import read_traced
from crm_store.log.wakeups import next_turn
from crm_store.tracing import Operation

from crm_projections.checkpoints import (
    BUILT,
    MOVE_IDLE,
    NO_WAIT,
    STOPPED,
    Move,
    register,
    standings,
)
from crm_projections.keyed import KeyedFold
from crm_projections.model import BatchModel, GlanceModel, Projection
from crm_projections.pages import Pages, Wants
from crm_projections.parking import reason_of
from crm_projections.retrying import Retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import asyncpg
    from crm_store.clock import Clock
    from crm_store.lease import Lease
    from crm_store.log.append import Log
    from crm_store.log.position import Position

    from crm_projections.checkpoints import Standing
    from crm_projections.keyed import Keyed
    from crm_projections.model import Model, ReadModel
    from crm_projections.pages import Page

WITHOUT_LEASE_SECONDS: Final = 0.5

LOOK_EVERY_S: Final = 0.25
"""Whether somebody paused a model, or took it to change its tables."""

_logger = structlog.stdlib.get_logger(__name__)


class Projector:
    """Runs read models while the lease is held.

    Models at the same position share one read of the log. A key of a `Projection` that cannot be
    folded parks (see `parking`). A model of another kind, or one of which too many keys fail, stops
    and says so (log, metric, `stopped` in its checkpoint); the others go on, and it is tried again
    when the process starts anew. A model that is paused, or held while its tables change places, is
    left out until it is let go.
    """

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        log: Log,
        models: Sequence[ReadModel],
        lease: Lease,
        wake: asyncio.Event,
        clock: Clock,
        keyed: Sequence[Keyed[Any]] = (),
    ) -> None:
        """`keyed`: models that are no read models, and taken key by key as projections are."""
        self._pool = pool
        self._log = log
        every = [*models, *(one.model for one in keyed)]
        self._models = {(model.name, model.version): model for model in every}
        self._lease = lease
        self._wake = wake
        self._clock = clock
        self._at: dict[tuple[str, int], Standing] = {}
        self._looked_at = float("-inf")
        self._stopped: dict[tuple[str, int], datetime] = {}
        self._pages = Pages(pool)
        self._wants = {name: Wants.of(model, log.topic_of) for name, model in self._models.items()}
        folds = [KeyedFold(pool, model) for model in models if isinstance(model, Projection)]
        self._keyed: dict[tuple[str, int], Keyed[Any]] = {
            _name(one.model): one for one in (*folds, *keyed)
        }
        self._retrying = Retrying(pool, log)

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Fold until `stop`; finishes the batch it is in."""
        attempt = 0
        while not stop.is_set():
            beat()
            if not await self._lease.wait_held(WITHOUT_LEASE_SECONDS):
                await self.forget()
                continue
            began = asyncio.get_running_loop().time()
            try:
                behind = await self.turn(beat=beat)
                attempt = 0
            except Exception as error:
                if not interrupts(error):
                    raise
                # After an unknown outcome the checkpoint alone knows: it is read again.
                await self.forget()
                _logger.warning("projector.interrupted", error=type(error).__name__)
                await pause(stop, backoff(attempt))
                attempt += 1
                continue
            await next_turn(self._wake, began=began, found=behind)
        await self.forget()

    async def turn(
        self, *, beat: Callable[[], None] = lambda: None, until: Position = LAST
    ) -> bool:
        """One page for every position that models stand at. Is there more at once?

        `until`: nothing behind it is folded.

        Raises an error with SQLSTATE KM001 when another owner moved a checkpoint.
        """
        await self._look()
        groups: dict[Position, list[Model]] = defaultdict(list)
        for name, at in self._at.items():
            if name not in self._stopped and at.rests is None:
                groups[at.position].append(self._models[name])
        for (name, _), recorded_at in self._stopped.items():
            metrics.PROJECTION_AGE_SECONDS.labels(projection=name).set(self._age(recorded_at))
        at_work = {name: one for name, one in self._keyed.items() if self._at[name].rests is None}
        await self._retrying.answer(at_work, self._at)
        behind = False
        await self._pages.keep(groups, until=until)
        for position, models in groups.items():
            beat()
            behind |= await self._fold_page(position, models, until)
        return behind

    async def _look(self) -> None:
        """Where do the models stand, and did somebody take one from us, or let one go on?"""
        now = asyncio.get_running_loop().time()
        held = any(at.rests == "held" for at in self._at.values())
        if self._at and not held and now - self._looked_at < LOOK_EVERY_S:
            return
        if self._at:
            found = await standings(self._pool, list(self._models))
            if {name: at.term for name, at in found.items()} != {
                name: at.term for name, at in self._at.items()
            }:
                await self.forget()
            else:
                self._at = {
                    name: replace(at, rests=found[name].rests) for name, at in self._at.items()
                }
        if not self._at:
            await self._read_checkpoints()
        self._looked_at = now
        for (name, _), at in self._at.items():
            metrics.PROJECTION_PAUSED.labels(projection=name).set(at.rests == "paused")
            metrics.PROJECTION_BUILDING.labels(projection=name).set(not at.built)

    async def _read_checkpoints(self) -> None:
        for keyed in self._keyed.values():
            await keyed.register()
        await register(self._pool, list(self._models.values()))
        self._at = await standings(self._pool, list(self._models))
        for keyed in self._keyed.values():
            await keyed.look()

    async def _fold_page(
        self, position: Position, models: Sequence[Model], until: Position = LAST
    ) -> bool:
        page = await self._pages.next(position, models, until=until)
        if page is None:
            for model in models:
                metrics.PROJECTION_AGE_SECONDS.labels(projection=model.name).set(0)
                metrics.PROJECTION_ROWS_BEHIND.labels(projection=model.name).set(0)
            await self._note_built(models)
            return False
        behind = await self._pages.behind(page)
        busy = [page.has_any(model, self._wants[_name(model)]) for model in models]
        idle = [model for model, has_any in zip(models, busy, strict=True) if not has_any]
        if idle:
            await self._move(idle, position, page)
        # Who glances at a page is given too little to tell of it.
        traced = await read_traced(self._pool, position, page.end) if tracing.is_on() else ()
        for model, has_any in zip(models, busy, strict=True):
            if has_any:
                await self._advance(model, position, page, traced)
            age = self._age(page.recorded_at)
            metrics.PROJECTION_AGE_SECONDS.labels(projection=model.name).set(age)
            metrics.PROJECTION_ROWS_BEHIND.labels(projection=model.name).set(behind)
        if not behind:
            await self._note_built([one for one in models if _name(one) not in self._stopped])
        return True

    async def _note_built(self, models: Sequence[Model]) -> None:
        """They are level with the log: from now on answers can be given from them."""
        for model in models:
            at = self._at[_name(model)]
            if not at.built:
                await self._pool.execute(BUILT, model.name, model.version)
                self._at[_name(model)] = replace(at, built=True)

    async def overtaken(self) -> bool:
        """Has another owner folded a model on from where it stands here?"""
        found = await standings(self._pool, list(self._at))
        return any(at.position != self._at[name].position for name, at in found.items())

    async def forget(self) -> None:
        """What is in memory may not be so any more: checkpoints are read again."""
        self._at.clear()
        await self._pages.keep({})

    def _age(self, recorded_at: datetime) -> float:
        return max(0.0, (self._clock() - recorded_at).total_seconds())

    async def _advance(
        self, model: Model, position: Position, page: Page, traced: Sequence[asyncpg.Record]
    ) -> None:
        began, began_ns = time.perf_counter(), time.time_ns()
        try:
            events, wrote = await self._take(model, position, page)
        except Exception as error:
            if interrupts(error) and not self._stands(model, error):
                raise
            await self._stop(model, error, page.since(model, self._wants[_name(model)]))
            return
        self._pages.fit(model.name, wrote, page.rows)
        self._at[_name(model)] = replace(self._at[_name(model)], position=page.end)
        metrics.PROJECTION_EVENTS.labels(projection=model.name).inc(events)
        metrics.PROJECTION_BATCH_SECONDS.labels(projection=model.name).observe(
            time.perf_counter() - began
        )
        own = (row for row in traced if row["type"] in model.types)
        taken = ((model.name, row["type"], row["event_id"], row["meta"]) for row in own)
        tracing.tell(Operation.PROCESS, taken, began_ns=began_ns, name=model.name)

    async def _take(self, model: Model, position: Position, page: Page) -> tuple[int, float]:
        """Fold a page's events and move behind it; how many they were, seconds of writing."""
        term = self._at[_name(model)].term
        move = Move(model, position, page.end, page.recorded_at, term)
        if isinstance(model, GlanceModel):
            weighed, events = page.weighed_by(model)
            return events, await move.write(self._pool, await model.fold(self._pool, weighed))
        rows = page.of(self._wants[_name(model)])
        logged = await self._log.logged(rows, opens=model.opens)
        if isinstance(model, BatchModel):
            return len(rows), await move.write(self._pool, await model.fold(self._pool, logged))
        return len(rows), await self._keyed[_name(model)].advance(logged, move)

    async def _move(self, models: Sequence[Model], position: Position, page: Page) -> None:
        """There is nothing of these models on the page: they stand behind it."""
        end = page.end
        await self._pool.fetchval(
            MOVE_IDLE + NO_WAIT,
            end.epoch, str(end.xid), end.gp, page.recorded_at,
            [model.name for model in models], [model.version for model in models],
            [self._at[_name(model)].term for model in models],
            position.epoch, str(position.xid), position.gp,
        )  # fmt: skip
        for model in models:
            self._at[_name(model)] = replace(self._at[_name(model)], position=end)

    def _stands(self, model: Model, error: Exception) -> bool:
        """Nobody parks for a key that is missing where there are no keys to park."""
        return isinstance(error, MissingKeyError) and _name(model) not in self._keyed

    async def _stop(self, model: Model, error: Exception, since: datetime) -> None:
        """Stand still, loudly. The position stays where the model is right."""
        self._stopped[_name(model)] = since
        metrics.PROJECTION_STOPPED.labels(projection=model.name).set(1)
        _logger.error("projection.stopped", projection=model.name, exc_info=error)
        await self._pool.execute(STOPPED, model.name, model.version, reason_of(error))


def interrupts(error: Exception) -> bool:
    """Does the same work go through later? Nothing is wrong with it."""
    if isinstance(error, (VersionConflictError, MissingKeyError)):
        return True
    return sqlstate(error) == LOST or is_dependency_error(error)


def _name(model: Model) -> tuple[str, int]:
    return model.name, model.version
