"""Reading one's own writes: receipts, `?after=`, and how fresh an answer is."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Protocol
from uuid import UUID

import asyncpg
from crm_store.clock import Clock
from crm_store.log.position import Position
from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict

from crm_chassis.http.problems import invalid_input

LONGEST_WAIT_S: Final = 2.0
POLL_S: Final = 0.01
LONGEST_POSITION: Final = 64

# The oldest row that a read model has not seen is the next one behind its checkpoint.
CHECKPOINTS: Final = """
select c.name, c.version, c.epoch, c.xid::text as xid, c.gp, c.stopped, c.paused_for,
       n.recorded_at as owed_since
from projection_checkpoint c
left join lateral (
    select l.recorded_at from log l
    where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp)
    order by l.epoch, l.xid, l.gp limit 1
) n on true
"""


class Receipt(BaseModel):
    """What a command answers with. `position` goes into `?after=` of a read that must show it."""

    model_config = ConfigDict(frozen=True)

    stream_id: UUID
    version: int
    position: str | None  # None where nothing had to be written

    @classmethod
    def of(cls, stream_id: UUID, version: int, position: Position | None) -> "Receipt":
        return cls(
            stream_id=stream_id,
            version=version,
            position=None if position is None else str(position),
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a read model stands."""

    position: Position
    stopped: str | None  # why it stands still
    paused: str | None  # what an operator paused it for
    owed_since: datetime | None  # when the oldest row not folded was recorded; None: all are


class ReadModelName(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...


class Checkpoints:
    """The checkpoints of this service's read models, one query for all who ask within 10 ms."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self.clock = clock
        self._read_at = float("-inf")
        self._last: Mapping[tuple[str, int], Checkpoint] = {}
        self._reading: asyncio.Task[Mapping[tuple[str, int], Checkpoint]] | None = None

    async def read(self) -> Mapping[tuple[str, int], Checkpoint]:
        """By name and version, at most 10 ms old."""
        if time.monotonic() - self._read_at < POLL_S:
            return self._last
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> Mapping[tuple[str, int], Checkpoint]:
        began = time.monotonic()
        rows = await self._pool.fetch(CHECKPOINTS)
        self._last = {
            (row["name"], row["version"]): Checkpoint(
                Position(row["epoch"], int(row["xid"]), row["gp"]),
                row["stopped"],
                row["paused_for"],
                row["owed_since"],
            )
            for row in rows
        }
        self._read_at = began
        return self._last


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh an answer is, taken before it was read: it may be fresher, never staler."""

    age_seconds: float
    """How long the oldest event that is missing has been recorded; 0 when none is."""
    position: Position | None
    stale: str | None
    """Why the answer may lack what was asked for: behind, stopped, paused, not-started."""

    def headers(self) -> dict[str, str]:
        told = {"Freshness-Age-Seconds": f"{self.age_seconds:.3f}"}
        if self.position is not None:
            told["Freshness-Position"] = str(self.position)
        if self.stale is not None:
            told |= {"Stale": "true", "Stale-Reason": self.stale}
        return told


async def wait_for(
    checkpoints: Checkpoints, models: tuple[ReadModelName, ...], after: Position | None
) -> Freshness:
    """Wait until all `models` have folded the row at `after`, 2 s at most."""
    until = time.monotonic() + LONGEST_WAIT_S
    while True:
        known = await checkpoints.read()
        standing = [known.get((model.name, model.version)) for model in models]
        late = _lateness(standing, after)
        if late != "behind" or time.monotonic() > until:
            break
        await asyncio.sleep(POLL_S)
    present = [each for each in standing if each is not None]
    owed = [each.owed_since for each in present if each.owed_since is not None]
    age = (checkpoints.clock() - min(owed)).total_seconds() if owed else 0.0
    position = min((each.position for each in present), default=None)
    return Freshness(max(0.0, age), position, late)


def _lateness(standing: list[Checkpoint | None], after: Position | None) -> str | None:
    if any(each is None for each in standing):
        return "not-started"
    behind = [each for each in standing if each and after is not None and each.position < after]
    waited_for = behind if after is not None else standing
    if any(each and each.stopped for each in waited_for):
        return "stopped"
    if any(each and each.paused is not None for each in waited_for):
        return "paused"
    return "behind" if behind else None


def following(*models: ReadModelName) -> Callable[..., Awaitable[Freshness]]:
    """A dependency for a route that reads these models: waits for `?after=`, tells freshness.

    Every answer carries `Freshness-Age-Seconds` and `Freshness-Position`; one that could not
    wait for what was asked also `Stale: true` and `Stale-Reason`.
    """

    async def fresh(
        request: Request,
        after: Annotated[
            str | None,
            Query(max_length=LONGEST_POSITION, description="A receipt's position: show it."),
        ] = None,
    ) -> Freshness:
        freshness = await wait_for(
            request.app.state.checkpoints, models, None if after is None else _position(after)
        )
        request.state.reply_headers = freshness.headers()
        return freshness

    return fresh


def _position(text: str) -> Position:
    try:
        return Position.parse(text)
    except ValueError as error:
        raise invalid_input("query", "/after", str(error)) from None
