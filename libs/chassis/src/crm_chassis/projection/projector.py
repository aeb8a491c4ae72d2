"""Folding the log into read models: one owner, a checkpoint each, everything once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from crm_chassis import metrics
from crm_chassis.database import pause
from crm_chassis.errors import backoff, is_dependency_error, sqlstate
from crm_chassis.log.entries import Statement
from crm_chassis.log.position import LAST, START, Position
from crm_chassis.log.statements import guarded
from crm_chassis.log.tail import Glance, head, position_of, read_glances, read_page
from crm_chassis.logs import safe_text
from crm_chassis.projection.model import GlanceModel

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
PAGE_ROWS: Final = 5_000
LOOK_BEHIND_SECONDS: Final = 1.0
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
# Rows and checkpoint go together, and the log that they are folded from is on the disk: nobody
# has to wait for the disk here. What PostgreSQL forgets in a crash is folded again.
NO_WAIT: Final = ", set_config('synchronous_commit', 'off', true)"
STOPPED: Final = "update projection_checkpoint set stopped = $3 where name = $1 and version = $2"
LOST: Final = "KM001"
LONGEST_REASON: Final = 2_000

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of the log as the models at one position want them; `rows` counts all of them."""

    rows: int
    end: Position
    recorded_at: datetime
    events: Sequence[asyncpg.Record] = ()  # of the types that models decode
    glances: Sequence[Glance] = ()


Wanted = tuple[Position, tuple[str, ...]]
"""Where a page begins, and for which models it is read."""


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
        self._ahead: dict[Wanted, asyncio.Task[Page | None]] = {}
        self._last = START
        self._looked_at = float("-inf")

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Fold until `stop`; finishes the batch it is in."""
        attempt = 0
        while not stop.is_set():
            beat()
            if not await self._lease.wait_held(WITHOUT_LEASE_SECONDS):
                await self._forget()
                continue
            try:
                behind = await self.turn(beat=beat)
                attempt = 0
            except Exception as error:
                if sqlstate(error) != LOST and not is_dependency_error(error):
                    raise
                # After an unknown outcome the checkpoint alone knows: it is read again.
                await self._forget()
                _logger.warning("projector.interrupted", error=type(error).__name__)
                await pause(stop, backoff(attempt))
                attempt += 1
                continue
            if not behind:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
                self._wake.clear()
        await self._forget()

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
        standing = {
            (position, _names([self._models[name] for name in names]))
            for position, names in groups.items()
        }
        await self._drop(lambda wanted: wanted not in standing)
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
        page = await self._next_page(position, models)
        if page is None:
            for model in models:
                metrics.PROJECTION_AGE_SECONDS.labels(projection=model.name).set(0)
                metrics.PROJECTION_ROWS_BEHIND.labels(projection=model.name).set(0)
            return False
        if page.rows >= self._rows:
            # While this page is folded and written the next one is read.
            reading = asyncio.create_task(self._read(page.end, models))
            self._ahead[page.end, _names(models)] = reading
        await self._look_behind(page)
        for model in models:
            await self._advance(model, position, page)
            age = self._age(page.recorded_at)
            metrics.PROJECTION_AGE_SECONDS.labels(projection=model.name).set(age)
            behind = max(0, self._last.gp - page.end.gp)  # numbers are given in order: nearly exact
            metrics.PROJECTION_ROWS_BEHIND.labels(projection=model.name).set(behind)
        return True

    async def _next_page(self, position: Position, models: Sequence[ReadModel]) -> Page | None:
        # A page holds what these models asked for: at the same place others ask for other rows.
        reading = self._ahead.pop((position, _names(models)), None)
        page = None if reading is None else await reading
        return page or await self._read(position, models)

    async def _read(self, position: Position, models: Sequence[ReadModel]) -> Page | None:
        """The next rows, read as the models want them; all stop at the same row."""
        glancing = [model for model in models if isinstance(model, GlanceModel)]
        decoding = [model for model in models if not isinstance(model, GlanceModel)]
        page: Page | None = None
        if decoding:
            types = sorted({kind for model in decoding for kind in model.types})
            rows = await read_page(self._pool, position, limit=self._rows, types=types)
            if not rows:
                return None
            last = rows[-1]
            page = Page(last["rows"], position_of(last), last["recorded_at"], rows)
        if glancing:
            found = await read_glances(
                self._pool,
                position,
                limit=self._rows if page is None else page.rows,
                types=sorted({kind for model in glancing for kind in model.types}),
                with_id=sorted({kind for model in glancing for kind in model.with_id}),
                with_data=sorted({kind for model in glancing for kind in model.with_data}),
                until=LAST if page is None else page.end,
            )
            if found is None:
                return page
            events = () if page is None else page.events
            page = Page(found.rows, found.end, found.recorded_at, events, found.glances)
        return page

    async def _look_behind(self, page: Page) -> None:
        """How far the log goes, asked at most once a second while there is more."""
        now = time.monotonic()
        if page.rows < self._rows:
            self._last = page.end
        elif now - self._looked_at >= LOOK_BEHIND_SECONDS:
            self._looked_at = now
            self._last = await head(self._pool)

    async def _forget(self) -> None:
        """What is in memory may not be so any more: checkpoints are read again."""
        self._at.clear()
        await self._drop(lambda _: True)

    async def _drop(self, which: Callable[[Wanted], bool]) -> None:
        """Give up pages that nobody wants any more, whatever became of them."""
        dropped = [self._ahead.pop(wanted) for wanted in list(self._ahead) if which(wanted)]
        for reading in dropped:
            reading.cancel()
        if dropped:
            await asyncio.wait(dropped)
        for reading in dropped:
            if not reading.cancelled():
                reading.exception()

    def _age(self, recorded_at: datetime) -> float:
        return max(0.0, (self._clock() - recorded_at).total_seconds())

    async def _advance(self, model: ReadModel, position: Position, page: Page) -> None:
        began = time.perf_counter()
        end = page.end
        try:
            writes, named = await self._folded(model, page)
            move = Statement(
                MOVE,
                (end.epoch, str(end.xid), end.gp, page.recorded_at, model.name, model.version,
                 position.epoch, str(position.xid), position.gp),
            )  # fmt: skip
            statement = guarded(move, writes)
            written = time.perf_counter()
            await self._pool.fetchval(statement.sql + NO_WAIT, *statement.args)
        except Exception as error:
            if sqlstate(error) == LOST or is_dependency_error(error):
                raise
            await self._stop(model, error, _since(model, page))
            return
        self._fit(time.perf_counter() - written, page.rows)
        self._at[model.name, model.version] = end
        metrics.PROJECTION_EVENTS.labels(projection=model.name).inc(named)
        metrics.PROJECTION_BATCH_SECONDS.labels(projection=model.name).observe(
            time.perf_counter() - began
        )

    async def _folded(self, model: ReadModel, page: Page) -> tuple[Sequence[Statement], int]:
        """What a model writes of a page, and how many of its events it folded."""
        types = set(model.types)
        if isinstance(model, GlanceModel):
            glances = [one for one in page.glances if one.type in types]
            return (await model.fold(self._pool, glances) if glances else ()), len(glances)
        rows = [row for row in page.events if row["type"] in types]
        if not rows:
            return (), 0
        logged = await self._log.logged(rows, opens=model.opens)
        return await model.fold(self._pool, logged), len(rows)

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


def _since(model: ReadModel, page: Page) -> datetime:
    """When the first event of a model on this page was recorded."""
    types = set(model.types)
    times = [row["recorded_at"] for row in page.events if row["type"] in types]
    times += [one.recorded_at for one in page.glances if one.type in types]
    return times[0] if times else page.recorded_at


def _names(models: Sequence[ReadModel]) -> tuple[str, ...]:
    return tuple(f"{model.name} {model.version}" for model in models)


async def standing_at(pool: asyncpg.Pool, name: str, version: int) -> Position:
    """How far a read model has folded the log; the start where it never ran."""
    for row in await pool.fetch(CHECKPOINTS, [name], [version]):
        return position_of(cast("Any", row))
    return START
