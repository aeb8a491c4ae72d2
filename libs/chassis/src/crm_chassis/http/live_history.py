"""The log as the history of a live stream: what its ids stand for, and reading behind one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from crm_store.log.position import Position, bounds
from crm_store.log.tail import HEAD, PAGE, position_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

PAGE_ROWS: Final = 1_000
LONGEST_ID: Final = 128

# Another server, or a table that was loaded, may give a position to another row: neither the
# epoch's number nor what its row says would tell, for a backup has those too.
_RUN: Final = """
select concat_ws(' ', e.epoch, extract(epoch from pg_postmaster_start_time()), e.tableoid) as run
from log_epoch e order by e.epoch desc limit 1"""

# The run is told by the statement that reads the rows: they are that server's for certain.
_END: Final = f"select r.run, h.* from ({_RUN}) r left join ({HEAD}) h on true"  # noqa: S608  # constants only
_PAGE: Final = f"select r.run, p.* from ({_RUN}) r left join ({PAGE}) p on true"  # noqa: S608  # as above
_BEHIND: Final = """
select count(*) from (
    select from log l
    where (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
      and (l.epoch, l.xid, l.gp) <= ($4::int, $5::text::xid8, $6::bigint)
    limit $7) b
"""


class Stretch(NamedTuple):
    """Rows of the types asked for, in order, and how far they go in which run of the log."""

    run: str
    rows: Sequence[asyncpg.Record]
    end: Position
    full: bool


def write_id(position: Position, token: str) -> str:
    """The id of what was told up to `position`, opaque to clients."""
    return f"{position}.{token}"


def read_id(text: str, token: str) -> Position | None:
    """The position that an id stands for; None where it is of another stream, run or meaning."""
    position, _, theirs = text.rpartition(".")
    if theirs != token:
        return None
    try:
        return Position.parse(position)
    except ValueError:
        return None


def token_of(run: str, *meaning: str) -> str:
    """What ids of one run of the log, and of streams of one meaning, have in common."""
    return hashlib.sha256("\n".join((run, *meaning)).encode()).hexdigest()[:16]


async def read_end(pool: asyncpg.Pool) -> tuple[str, Position]:
    """The run of the log, and the position of its last row in reach."""
    row = await pool.fetchrow(_END)
    if row is None:  # no epoch was begun: nothing was ever written
        return "", Position(0, 0, 0)
    return row["run"], Position(0, 0, 0) if row["gp"] is None else position_of(row)


async def read_behind(
    pool: asyncpg.Pool, after: Position, until: Position, *, types: Sequence[str]
) -> Stretch:
    """The next rows behind `after` and not behind `until`, 1,000 of the log at most."""
    found = await pool.fetch(_PAGE, *bounds(after, until), PAGE_ROWS, list(types))
    run: str = found[0]["run"] if found else ""
    rows = sorted((row for row in found if row["gp"] is not None), key=position_of)
    if not rows:
        return Stretch(run, (), after, full=False)
    told = [row for row in rows if row["data"] is not None]
    return Stretch(run, told, position_of(rows[-1]), full=rows[0]["rows"] == PAGE_ROWS)


async def is_far_behind(
    pool: asyncpg.Pool, after: Position, until: Position, *, most_rows: int
) -> bool:
    """Lie more rows than that between the two, behind one and up to the other?"""
    rows: Any = await pool.fetchval(_BEHIND, *bounds(after, until), most_rows + 1)
    return rows > most_rows
