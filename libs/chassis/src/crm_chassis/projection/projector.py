"""Folding the log into read models: one owner, a checkpoint each, everything once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from crm_chassis import metrics
from crm_chassis.database import pause
from crm_chassis.errors import backoff, is_dependency_error, sqlstate
from crm_chassis.log.entries import Statement
from crm_chassis.log.position import START, Position
from crm_chassis.log.statements import guarded
from crm_chassis.log.tail import head, position_of, read_page
from crm_chassis.logs import safe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import asyncpg

    from crm_chassis.clock import Clock
    from crm_chassis.lease import Lease
    from crm_chassis.log.append import Log
    from crm_chassis.projection.model import ReadModel

POLL_SECONDS: Final = 0.05
WITHOUT_LEASE_SECONDS: Final = 0.5
PAGE_ROWS: Final = 2_000
FEWEST_ROWS: Final = 50
LONGEST_WRITE_SECONDS: Final = 0.05
"""A write holds a transaction id, and that holds every tail back."""

REGISTER: Final = """
insert into projection_checkpoint (name, version) select * from unnest($1::text[], $2::int[])
on conflict do nothing
"""
CHECKPOINTS: Final = """
select c.name, c.version, c.epoch, c.xid::text as xid, c.gp, c.recorded_at
from projection_checkpoint c
where (c.name, c.version) in (select * from unnest($1::text[], $2::int[]))
"""
MOVE: Final = """
update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3, recorded_at = $4,
       moved_at = clock_timestamp(), stopped = null
where name = $5 and version = $6 and epoch = $7 and xid = $8::text::xid8 and gp = $9
"""
STOPPED: Final = "update projection_checkpoint set stopped = $3 where name = $1 and version = $2"
LOST: Final = "KM001"
LONGEST_REASON: Final = 2_000

_logger = structlog.stdlib.get_logger(__name__)


class Projector:
    """Runs read models while the lease is held.

    Models at the same position share one read of the log. A model whose fold raises stops and
    says so (log, metric, `stopped` in its checkpoint); the others go on, and it is tried again
    when the process starts anew.
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
    ) -> None:
        self._pool = pool
        self._log = log
        self._models = {(model.name, model.version): model for model in models}
        self._lease = lease
        self._wake = wake
        self._clock = clock
        self._at: dict[tuple[str, int], Position] = {}
        self._stopped: dict[tuple[str, int], datetime] = {}
        self._rows = PAGE_ROWS

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Fold until `stop`; finishes the batch it is in."""
        attempt = 0
        while not stop.is_set():
            beat()
            if not await self._lease.wait_held(WITHOUT_LEASE_SECONDS):
                self._at.clear()
                continue
            try:
                behind = await self.turn(beat=beat)
                attempt = 0
            except Exception as error:
                if sqlstate(error) != LOST and not is_dependency_error(error):
                    raise
                # After an unknown outcome the checkpoint alone knows: it is read again.
                self._at.clear()
                _logger.warning("projector.interrupted", error=type(error).__name__)
                await pause(stop, backoff(attempt))
                attempt += 1
                continue
            if not behind:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
                self._wake.clear()

    async def turn(self, *, beat: Callable[[], None] = lambda: None) -> bool:
        """One page for every position that models stand at. Is there more at once?

        Raises an error with SQLSTATE KM001 when another owner moved a checkpoint.
        """
        if not self._at:
            await self._read_checkpoints()
        groups: dict[Position, list[tuple[str, int]]] = defaultdict(list)
        for name, position in self._at.items():
            if name not in self._stopped:
                groups[position].append(name)
        for (name, _), recorded_at in self._stopped.items():
            metrics.PROJECTION_AGE_SECONDS.labels(projection=name).set(self._age(recorded_at))
        behind = False
        for position, names in groups.items():
            beat()
            behind |= await self._fold_page(position, [self._models[name] for name in names])
        return behind

    async def _read_checkpoints(self) -> None:
        names, versions = [n for n, _ in self._models], [v for _, v in self._models]
        await self._pool.execute(REGISTER, names, versions)
        for row in await self._pool.fetch(CHECKPOINTS, names, versions):
            self._at[row["name"], row["version"]] = position_of(row)

    async def _fold_page(self, position: Position, models: Sequence[ReadModel]) -> bool:
        wanted = {kind for model in models for kind in model.types}
        rows = await read_page(self._pool, position, limit=self._rows, types=sorted(wanted))
        if not rows:
            for model in models:
                metrics.PROJECTION_AGE_SECONDS.labels(projection=model.name).set(0)
                metrics.PROJECTION_ROWS_BEHIND.labels(projection=model.name).set(0)
            return False
        end = position_of(rows[-1])
        recorded_at: datetime = rows[-1]["recorded_at"]
        last = await head(self._pool) if len(rows) == self._rows else end
        for model in models:
            await self._advance(model, position, end, recorded_at, rows)
            metrics.PROJECTION_AGE_SECONDS.labels(projection=model.name).set(self._age(recorded_at))
            behind = max(0, last.gp - end.gp)  # numbers are handed out in order: nearly exact
            metrics.PROJECTION_ROWS_BEHIND.labels(projection=model.name).set(behind)
        return True

    def _age(self, recorded_at: datetime) -> float:
        return max(0.0, (self._clock() - recorded_at).total_seconds())

    async def _advance(
        self,
        model: ReadModel,
        position: Position,
        end: Position,
        recorded_at: datetime,
        rows: Sequence[asyncpg.Record],
    ) -> None:
        began = time.perf_counter()
        types = set(model.types)
        named = [row for row in rows if row["type"] in types]
        try:
            writes: Sequence[Statement] = ()
            if named:
                logged = await self._log.logged(named, opens=model.opens)
                writes = await model.fold(self._pool, logged)
            move = Statement(
                MOVE,
                (end.epoch, str(end.xid), end.gp, recorded_at, model.name, model.version,
                 position.epoch, str(position.xid), position.gp),
            )  # fmt: skip
            statement = guarded(move, writes)
            written = time.perf_counter()
            await self._pool.fetchval(statement.sql, *statement.args)
        except Exception as error:
            if sqlstate(error) == LOST or is_dependency_error(error):
                raise
            await self._stop(model, error, named[0]["recorded_at"] if named else recorded_at)
            return
        self._fit(time.perf_counter() - written, len(rows))
        self._at[model.name, model.version] = end
        metrics.PROJECTION_EVENTS.labels(projection=model.name).inc(len(named))
        metrics.PROJECTION_BATCH_SECONDS.labels(projection=model.name).observe(
            time.perf_counter() - began
        )

    async def _stop(self, model: ReadModel, error: Exception, since: datetime) -> None:
        """Stand still, loudly. The position stays where the model is right."""
        self._stopped[model.name, model.version] = since
        metrics.PROJECTION_STOPPED.labels(projection=model.name).set(1)
        _logger.error("projection.stopped", projection=model.name, exc_info=error)
        reason = f"{type(error).__name__}: {safe_text(error)}"[:LONGEST_REASON]
        await self._pool.execute(STOPPED, model.name, model.version, reason)

    def _fit(self, seconds: float, rows: int) -> None:
        """Shrink pages whose write took too long, let them grow again when it did not."""
        if seconds > LONGEST_WRITE_SECONDS:
            self._rows = max(FEWEST_ROWS, min(self._rows, rows) // 2)
        elif self._rows < PAGE_ROWS:
            self._rows = min(PAGE_ROWS, self._rows + self._rows // 4)


async def standing_at(pool: asyncpg.Pool, name: str, version: int) -> Position:
    """How far a read model has folded the log; the start where it never ran."""
    for row in await pool.fetch(CHECKPOINTS, [name], [version]):
        return position_of(cast("Any", row))
    return START
