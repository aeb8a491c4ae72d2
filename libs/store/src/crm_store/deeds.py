"""What operators asked for of events that wait, and what came of it: kept for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_store.log.entries import Statement

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

NOTE: Final = "insert into deed (by, what, about, outcome) values ($1, $2, $3, $4)"
ABOUT: Final = "select at, by, what, outcome from deed where about = $1 order by id"


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody asked for, and what came of it."""

    at: datetime
    by: str
    what: str
    outcome: str


def noted(*, by: str, what: str, about: str, outcome: str) -> Statement:
    """Notes a deed; `about` names one parked key or quarantined record."""
    return Statement(NOTE, (by, what, about, outcome))


async def deeds_about(pool: asyncpg.Pool, subject: str) -> list[Deed]:
    """What was asked of one parked key or quarantined record, ever."""
    return [Deed(**dict(row.items())) for row in await pool.fetch(ABOUT, subject)]
