"""Reading the log in order, never past a transaction that is still open."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from crm_store.log.logged import COLUMNS
from crm_store.log.position import LAST, Position, bounds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

# A row is in reach when every transaction that could still write before it has ended. Rows of
# an earlier epoch are settled.
_IN_REACH: Final = """
    (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
    and (l.epoch, l.xid, l.gp) <= ($4::int, $5::text::xid8, $6::bigint)
    and (l.epoch < (select max(epoch) from log_epoch)
         or l.xid < pg_snapshot_xmin(pg_current_snapshot()))
order by l.epoch, l.xid, l.gp
limit $7"""

# Only rows of the types asked for come over, and the last one, for the page moves over all.
PAGE: Final = f"""
with page as materialized (select l.* from log l where {_IN_REACH}),
     last as (select p.epoch, p.xid, p.gp from page p
              order by p.epoch desc, p.xid desc, p.gp desc limit 1)
select {COLUMNS}, case when l.type = any($8::text[]) then l.data::text end as data,
       (select count(*) from page) as rows
from page l cross join last
where l.type = any($8::text[]) or (l.epoch, l.xid, l.gp) = (last.epoch, last.xid, last.gp)
order by l.epoch, l.xid, l.gp
"""  # noqa: S608  # constants only

# One row of arrays: what a model that needs little sees of each event costs a tenth of a record.
GLANCES: Final = f"""
with page as materialized (
    select l.epoch, l.xid, l.gp, l.recorded_at, l.type, l.partition_key, l.occurred_at,
           case when l.type = any($9::text[]) then l.event_id end as event_id,
           l.schema_version,
           case when l.type = any($10::text[]) then l.data::text end as data
    from log l where {_IN_REACH}
), seen as (
    select array_agg(array_position($8::text[], p.type)) as types,
           array_agg(p.partition_key) as keys, array_agg(p.occurred_at) as occurred,
           array_agg(p.recorded_at) as recorded,
           case when cardinality($9::text[]) > 0 then array_agg(p.event_id) end as event_ids,
           array_agg(p.schema_version) as versions,
           case when cardinality($10::text[]) > 0 then array_agg(p.data) end as data
    from page p where p.type = any($8)
)
select l.epoch, l.xid::text as xid, l.gp, l.recorded_at, (select count(*) from page) as rows, s.*
from seen s, (select * from page order by epoch desc, xid desc, gp desc limit 1) l
"""  # noqa: S608  # constants only

HEAD: Final = """
select l.epoch, l.xid::text as xid, l.gp from log l
where l.epoch < (select max(epoch) from log_epoch)
   or l.xid < pg_snapshot_xmin(pg_current_snapshot())
order by l.epoch desc, l.xid desc, l.gp desc limit 1
"""


TRACED: Final = """
select l.event_id, l.type, l.meta::text as meta from log l
where (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
  and (l.epoch, l.xid, l.gp) <= ($4::int, $5::text::xid8, $6::bigint) and l.meta is not null
"""


class Glance(NamedTuple):
    """What a model that needs little sees of an event; ids and JSON only where it asks for them."""

    type: str
    partition_key: UUID
    occurred_at: datetime
    recorded_at: datetime
    event_id: UUID | None
    schema_version: int
    json: str | None

    @property
    def data(self) -> dict[str, Any]:
        """The JSON as written: sealed, not upcast."""
        return orjson.loads(self.json or "{}")


@dataclass(frozen=True, slots=True)
class Glanced:
    """A page: how many rows it has, its last one's place and time, and those of its types."""

    rows: int
    end: Position
    recorded_at: datetime
    glances: Sequence[Glance]


async def read_page(
    pool: asyncpg.Pool,
    after: Position,
    *,
    limit: int,
    types: Sequence[str],
    until: Position = LAST,
) -> list[asyncpg.Record]:
    """Of the next rows behind `after`, at most `limit`: those of the types, and the last one.

    `rows` of each says how many there were; `data` of the last is None where it is of another type.
    """
    return await pool.fetch(PAGE, *bounds(after, until), limit, list(types))


async def read_glances(  # noqa: PLR0913  # where, how many, and what of them
    pool: asyncpg.Pool,
    after: Position,
    *,
    limit: int,
    types: Sequence[str],
    with_id: Sequence[str],
    with_data: Sequence[str],
    until: Position = LAST,
) -> Glanced | None:
    """The next rows behind `after`, at most `limit`, as glances; None where there are none."""
    row = await pool.fetchrow(
        GLANCES,
        *bounds(after, until),
        limit,
        list(types),
        list(with_id),
        list(with_data),
    )
    if row is None:
        return None
    glances: list[Glance] = []
    if row["types"] is not None:
        none = repeat(None)
        names = [types[place - 1] for place in row["types"]]
        columns = (
            names, row["keys"], row["occurred"], row["recorded"], row["event_ids"] or none,
            row["versions"], row["data"] or none,
        )  # fmt: skip
        glances = list(map(Glance._make, zip(*columns, strict=False)))
    return Glanced(row["rows"], position_of(row), row["recorded_at"], glances)


async def read_traced(pool: asyncpg.Pool, after: Position, until: Position) -> list[asyncpg.Record]:
    """Id, type and `meta` of rows that have one, of a page that was read."""
    return await pool.fetch(TRACED, *bounds(after, until))


def position_of(row: asyncpg.Record) -> Position:
    """Where a row that was selected as `COLUMNS` stands."""
    return Position(row["epoch"], int(row["xid"]), row["gp"])


async def head(pool: asyncpg.Pool) -> Position:
    """The position of the last row in reach."""
    row = await pool.fetchrow(HEAD)
    return Position(0, 0, 0) if row is None else position_of(row)
