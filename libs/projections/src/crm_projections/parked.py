"""Parked keys as an operator sees them; what is to be done the projection's owner is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from crm_projections.retrying import about

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

Ask = Literal["retry", "try", "discard"]

LOOK_S: Final = 0.1

LIST: Final = """
select k.projection, k.version, k.key, k.reason, k.stack, k.parked_at, k.asked,
       (select count(*) from parked_event e
        where (e.projection, e.version, e.key) = (k.projection, k.version, k.key)) as events
from parked_key k
where ($1::text is null or k.projection = $1) and ($2::text is null or k.key = $2)
order by k.parked_at, k.projection, k.version, k.key
"""
EVENTS: Final = """
select l.event_id, l.type, l.occurred_at
from parked_event e join log l on (l.epoch, l.xid, l.gp) = (e.epoch, e.xid, e.gp)
where e.projection = $1 and e.version = $2 and e.key = $3
order by l.epoch, l.xid, l.gp
"""
ASK: Final = """
update parked_key set asked = $1, asked_by = $2, asked_at = clock_timestamp()
where projection = $3 and ($4::text is null or key = $4)
returning projection, version, key
"""
LAST_DEED: Final = "select coalesce(max(id), 0) from deed"
ANSWERS: Final = """
select about, outcome from deed where id > $1 and about = any($2::text[]) order by id
"""


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key that a projection goes on without, and how many of its events wait."""

    projection: str
    version: int
    key: str
    reason: str
    stack: str
    parked_at: datetime
    asked: Ask | None
    events: int


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    event_id: UUID
    type: str
    occurred_at: datetime


async def list_parked(
    pool: asyncpg.Pool, projection: str | None = None, key: str | None = None
) -> list[ParkedKey]:
    """The parked keys, the longest parked first."""
    return [ParkedKey(**dict(row.items())) for row in await pool.fetch(LIST, projection, key)]


async def events_of(pool: asyncpg.Pool, parked: ParkedKey) -> list[ParkedEvent]:
    """What waits, in order; the first is the one that could not be folded."""
    rows = await pool.fetch(EVENTS, parked.projection, parked.version, parked.key)
    return [ParkedEvent(**dict(row.items())) for row in rows]


async def ask(  # noqa: PLR0913  # each named at the call
    pool: asyncpg.Pool, what: Ask, projection: str, key: str | None, *, by: str, within_s: float
) -> tuple[Sequence[tuple[str, str]], int]:
    """Ask the owner of a projection, of all its parked keys where `key` is None, and wait.

    Answers (about, outcome) of what was done within the time, and how many are still to be done:
    the owner does them as soon as there is one.
    """
    before = await pool.fetchval(LAST_DEED)
    asked = await pool.fetch(ASK, what, by, projection, key)
    subjects = [about(row["projection"], row["version"], row["key"]) for row in asked]
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while True:
        answers = [tuple(row.values()) for row in await pool.fetch(ANSWERS, before, subjects)]
        if len(answers) >= len(subjects) or loop.time() > until:
            return answers, max(0, len(subjects) - len(answers))
        await asyncio.sleep(LOOK_S)
