"""What the relay reads: own rows that go to Kafka, in log order, rendered for the wire."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from crm_store.log.position import LAST, Position, bounds
from crm_store.log.tail import position_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from crm_kafka.relay.progress import Cursor

PAGE_ROWS: Final = 2_000
SMALL_BYTES: Final = 2_500
"""Of data as stored, uncompressed: a page of such rows needs no other bound than its rows."""
LARGE_BYTES: Final = 8_000_000
"""The larger data of a page. It ends with the row that reaches this, so one event may be above."""
SCAN_ROWS: Final = 20_000
"""Where topics are left out, how many rows are looked at for one page."""

# Where `_PAGE` selects what; by number, which is twice as fast as by name.
TOPIC, PARTITION, EVENT_ID, TYPE, RECORDED_AT_MS, DATA, META = 3, 4, 5, 6, 13, 14, 15

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
# objects of it here takes (measured 2.4 against 5.4 us). Data that is or may be large is left
# null: what it takes in memory is not known until it is unpacked.
_PAGE: Final = f"""
select l.epoch, l.xid::text as xid, l.gp, l.topic, l.partition, l.event_id::text as event_id,
       l.type, l.schema_version, l.stream_id::text as stream_id, l.version,
       l.partition_key::text as partition_key, {_INSTANT.format("l.occurred_at")} as occurred_at,
       {_INSTANT.format("l.recorded_at")} as recorded_at,
       (extract(epoch from l.recorded_at) * 1000)::bigint as recorded_at_ms,
       case when pg_column_size(l.data) <= {SMALL_BYTES} and pg_column_compression(l.data) is null
            then l.data end as data,
       l.meta
from log l
where {_BETWEEN} and ($7::text is null or l.topic = $7) and l.topic <> all($8::text[])
order by l.epoch, l.xid, l.gp
limit $9
"""  # noqa: S608  # constants only
# `stored` bounds what is read from TOAST at all, `rendered` what comes over the wire.
_LARGE: Final = """
select r.epoch, r.xid::text as xid, r.gp, r.data from (
    select o.epoch, o.xid, o.gp, o.data, sum(octet_length(o.data::text)) over (
               order by o.epoch, o.xid, o.gp rows between unbounded preceding and 1 preceding
           ) as rendered
    from (
        select l.epoch, l.xid, l.gp, l.data, sum(pg_column_size(l.data)) over (
                   order by l.epoch, l.xid, l.gp rows between unbounded preceding and 1 preceding
               ) as stored
        from unnest($1::int[], $2::text[], $3::bigint[]) as u(epoch, xid, gp)
        join log l on l.epoch = u.epoch and l.xid = u.xid::xid8 and l.gp = u.gp
    ) o
    where o.stored is null or o.stored < $4
) r
where r.rendered is null or r.rendered < $4
"""
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
    large: Mapping[Position, str] = field(default_factory=dict[Position, str])

    def data(self, row: asyncpg.Record) -> str:
        """The data of one of its rows, JSON as it was written."""
        data: str | None = row[DATA]
        return self.large[position_of(row)] if data is None else data

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
    rows = await pool.fetch(_PAGE, *between, only, list(without), PAGE_ROWS)
    large: dict[Position, str] = {}
    if wanted := [position_of(row) for row in rows if row[DATA] is None]:
        large = await _read_large(pool, wanted)
        rows = list(takewhile(lambda row: row[DATA] or position_of(row) in large, rows))
    return Page(cursor, rows, position_of(rows[-1]) if rows else until, large)


async def _read_large(pool: asyncpg.Pool, positions: Sequence[Position]) -> dict[Position, str]:
    """The data of the first of them, up to the limit and at least of one."""
    epochs, xids, gps = zip(*positions, strict=True)
    rows = await pool.fetch(
        _LARGE, list(epochs), [str(xid) for xid in xids], list(gps), LARGE_BYTES
    )
    return {position_of(row): row["data"] for row in rows}


async def _window_end(pool: asyncpg.Pool, after: Position, until: Position) -> Position | None:
    """Position of the last row that one page looks at; None where there are fewer."""
    row = await pool.fetchrow(_WINDOW_END, *bounds(after, until), SCAN_ROWS - 1)
    return None if row is None else position_of(row)
