"""Reading the log in order, never past a transaction that is still open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm_chassis.log.logged import COLUMNS
from crm_chassis.log.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

# A row is in reach when every transaction that could still write before it has ended. Rows of
# an earlier epoch are settled. Data comes only for the types asked for; the page moves over all.
PAGE: Final = f"""
select {COLUMNS}, case when l.type = any($5::text[]) then l.data::text end as data
from log l
where (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
  and (l.epoch < (select max(epoch) from log_epoch)
       or l.xid < pg_snapshot_xmin(pg_current_snapshot()))
order by l.epoch, l.xid, l.gp
limit $4
"""  # noqa: S608  # constants only


async def read_page(
    pool: asyncpg.Pool, after: Position, *, limit: int, types: Sequence[str]
) -> list[asyncpg.Record]:
    """The next rows behind `after`, at most `limit`; `data` is None for other types."""
    return await pool.fetch(PAGE, after.epoch, str(after.xid), after.gp, limit, list(types))


def position_of(row: asyncpg.Record) -> Position:
    """Where a row that was selected as `COLUMNS` stands."""
    return Position(row["epoch"], int(row["xid"]), row["gp"])


async def head(pool: asyncpg.Pool) -> Position:
    """The position of the last row in reach."""
    row = await pool.fetchrow("""
        select l.epoch, l.xid::text as xid, l.gp from log l
        where l.epoch < (select max(epoch) from log_epoch)
           or l.xid < pg_snapshot_xmin(pg_current_snapshot())
        order by l.epoch desc, l.xid desc, l.gp desc limit 1""")
    return Position(0, 0, 0) if row is None else position_of(row)
