"""What the relay reads: own rows that go to Kafka, in log order, rendered for the wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from crm_chassis.log.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from crm_chassis.relay.progress import Cursor

PAGE_ROWS: Final = 2_000
PAGE_BYTES: Final = 8_000_000
"""A page ends with the row that reaches it: its data is at most this and one event more."""
SCAN_ROWS: Final = 20_000
"""Where topics are left out, how many rows are looked at for one page."""

LAST: Final = Position(2**31 - 1, 2**64 - 1, 2**63 - 1)

_BETWEEN: Final = """
    l.sequence is null and l.topic is not null
    and (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
    and (l.epoch, l.xid, l.gp) <= ($4::int, $5::text::xid8, $6::bigint)
    and (l.epoch < (select max(epoch) from log_epoch)
         or l.xid < pg_snapshot_xmin(pg_current_snapshot()))"""
# asyncpg writes the first and the last instant a datetime can hold as infinities, which to_char
# makes null of. Go's zero time is the first one, and senders do send it.
_INSTANT: Final = """coalesce(to_char({0} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    case when {0} < '2000-01-01' then '0001-01-01T00:00:00.000000Z'
         else '9999-12-31T23:59:59.999999Z' end)"""
# Ids and instants come as text: PostgreSQL renders a row in less than half the time that making
# objects of it here takes (measured 2.4 against 5.4 us). `stored` bounds what is read from TOAST
# at all, `rendered` what comes over the wire.
_PAGE: Final = f"""
select r.* from (
    select o.epoch, o.xid::text as xid, o.gp, o.topic, o.partition,
           o.event_id::text as event_id, o.type, o.schema_version,
           o.stream_id::text as stream_id, o.version, o.partition_key::text as partition_key,
           {_INSTANT.format("o.occurred_at")} as occurred_at,
           {_INSTANT.format("o.recorded_at")} as recorded_at,
           (extract(epoch from o.recorded_at) * 1000)::bigint as recorded_at_ms,
           o.data::text as data, o.meta::text as meta,
           sum(octet_length(o.data::text)) over (order by o.epoch, o.xid, o.gp rows
               between unbounded preceding and 1 preceding) as rendered
    from (
        select n.*, sum(pg_column_size(n.data)) over (order by n.epoch, n.xid, n.gp rows
                   between unbounded preceding and 1 preceding) as stored
        from (
            select l.* from log l
            where {_BETWEEN} and ($7::text is null or l.topic = $7) and l.topic <> all($8::text[])
            order by l.epoch, l.xid, l.gp
            limit $9
        ) n
    ) o
    where o.stored is null or o.stored < $10
) r
where r.rendered is null or r.rendered < $10
"""  # noqa: S608  # constants only
_WINDOW_END: Final = f"""
select l.epoch, l.xid::text as xid, l.gp from log l where {_BETWEEN}
order by l.epoch, l.xid, l.gp offset $7 limit 1
"""  # noqa: S608  # constants only


@dataclass(frozen=True, slots=True)
class Page:
    """Rows to send, in log order, and the position they lead the cursor to.

    `end` is None where there is nothing to send and nothing to leave behind.
    """

    cursor: Cursor
    rows: Sequence[asyncpg.Record]
    end: Position | None

    @property
    def full(self) -> bool:
        return len(self.rows) == PAGE_ROWS


async def read_next(pool: asyncpg.Pool, cursor: Cursor, *, without: Sequence[str]) -> Page:
    """The next rows to send but for those of topics that are being sent once more."""
    # Rows that are left out must not be looked at again for every page.
    until = await _window_end(pool, cursor.position, LAST) if without else None
    return await _read(pool, cursor, until, only=None, without=without)


async def read_again(pool: asyncpg.Pool, cursor: Cursor, *, until: Position) -> Page:
    """The next rows of the topic that the cursor is named after, none behind `until`.

    Without an `end` there are none left.
    """
    end = await _window_end(pool, cursor.position, until) or until
    page = await _read(pool, cursor, end, only=cursor.name, without=())
    return page if page.rows or end < until else replace(page, end=None)


async def _read(
    pool: asyncpg.Pool,
    cursor: Cursor,
    until: Position | None,
    *,
    only: str | None,
    without: Sequence[str],
) -> Page:
    between = bounds(cursor.position, until or LAST)
    rows = await pool.fetch(_PAGE, *between, only, list(without), PAGE_ROWS, PAGE_BYTES)
    return Page(cursor, rows, position_of(rows[-1]) if rows else until)


async def _window_end(pool: asyncpg.Pool, after: Position, until: Position) -> Position | None:
    """Position of the last row that one page looks at; None where there are fewer."""
    row = await pool.fetchrow(_WINDOW_END, *bounds(after, until), SCAN_ROWS - 1)
    return None if row is None else position_of(row)


def position_of(row: asyncpg.Record) -> Position:
    return Position(row["epoch"], int(row["xid"]), row["gp"])


def bounds(after: Position, until: Position) -> tuple[Any, ...]:
    """The first six arguments of a statement that reads behind `after`, up to `until`."""
    return (after.epoch, str(after.xid), after.gp, until.epoch, str(until.xid), until.gp)
