"""Checkpoints: how far each read model has folded the log, moved by compare-and-set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from crm_store.log.entries import Statement
from crm_store.log.position import START, Position
from crm_store.log.statements import guarded
from crm_store.log.tail import position_of

from crm_projections.model import tables_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from crm_projections.model import Model

REGISTER: Final = """
insert into projection_checkpoint as c (name, version, tables)
select u.name, u.version, string_to_array(u.tables, ',')
from unnest($1::text[], $2::int[], $3::text[]) as u(name, version, tables)
on conflict (name, version) do update set tables = excluded.tables
where c.tables <> excluded.tables
"""
SHARED: Final = """
select u.name, u.version, c.version as other, t as in_table
from unnest($1::text[], $2::int[], $3::text[]) as u(name, version, tables)
join projection_checkpoint c on c.name = u.name and c.version <> u.version
cross join lateral unnest(c.tables) t
where t = any(string_to_array(u.tables, ','))
"""
CHECKPOINTS: Final = """
select c.name, c.version, c.epoch, c.xid::text as xid, c.gp, c.recorded_at, c.term,
       case when c.paused_at is not null then 'paused'
            when c.held_until > clock_timestamp() then 'held' end as rests,
       c.built_at is not null as built
from projection_checkpoint c
where (c.name, c.version) in (select * from unnest($1::text[], $2::int[]))
"""
MOVE: Final = """
update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3, recorded_at = $4,
       moved_at = clock_timestamp(), stopped = null
where name = $5 and version = $6 and epoch = $7 and xid = $8::text::xid8 and gp = $9
  and term = $10
"""
STAY: Final = """
update projection_checkpoint set moved_at = clock_timestamp()
where name = $1 and version = $2 and epoch = $3 and xid = $4::text::xid8 and gp = $5 and term = $6
"""
# Models of which a page has no event move as one: a statement each would cost more than the folds.
MOVE_IDLE: Final = """
with moved as (
    update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3, recorded_at = $4,
           moved_at = clock_timestamp(), stopped = null
    where (name, version, term) in (select * from unnest($5::text[], $6::int[], $7::bigint[]))
      and epoch = $8 and xid = $9::text::xid8 and gp = $10
    returning 1)
select assert_moved((select count(*) from moved), cardinality($5))
"""
STOPPED: Final = "update projection_checkpoint set stopped = $3 where name = $1 and version = $2"
BUILT: Final = """
update projection_checkpoint set built_at = clock_timestamp()
where name = $1 and version = $2 and built_at is null
"""
# Rows and checkpoint go together, and the log that they are folded from is on the disk: nobody
# has to wait for the disk here. What PostgreSQL forgets in a crash is folded again.
NO_WAIT: Final = ", set_config('synchronous_commit', 'off', true)"

Rest = Literal["paused", "held"]
"""Why a model is not folded: an operator paused it; its tables are about to change places."""


class SharedTableError(Exception):
    """A version of a model would be folded into rows that another version of it keeps."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a model stands, and under which term whoever folds it may write."""

    position: Position
    term: int
    rests: Rest | None = None
    built: bool = False  # it was level with the log once


@dataclass(frozen=True, slots=True)
class Move:
    """Where a model goes from where its owner believes it to be; else it is another's by now."""

    model: Model
    start: Position
    end: Position
    recorded_at: datetime  # of the row at `end`
    term: int

    @property
    def fence(self) -> Statement:
        """Changes one row, or none where another owner moved the checkpoint."""
        start, end, model = self.start, self.end, self.model
        arguments = (
            end.epoch, str(end.xid), end.gp, self.recorded_at, model.name, model.version,
            start.epoch, str(start.xid), start.gp, self.term,
        )  # fmt: skip
        return Statement(MOVE, arguments)

    async def write(self, pool: asyncpg.Pool, writes: Sequence[Statement]) -> float:
        """Move and write, as one statement; seconds it took.

        Raises an error with SQLSTATE KM001 when another owner moved the checkpoint.
        """
        return await write_behind(self.fence, pool, writes)


async def write_behind(
    fence: Statement, pool: asyncpg.Pool, writes: Sequence[Statement], *, durable: bool = False
) -> float:
    """Write if `fence` changes its one row, as one statement; seconds it took.

    `durable`: it is on the disk then; else a crash may undo it, with what the fence moved.

    Raises an error with SQLSTATE KM001 when it changes none.
    """
    statement = guarded(fence, writes)
    began = time.perf_counter()
    await pool.fetchval(statement.sql + ("" if durable else NO_WAIT), *statement.args)
    return time.perf_counter() - began


def stayed(model: Model, at: Standing) -> Statement:
    """Write beside a model that stays where its owner believes it to be."""
    epoch, xid, gp = at.position
    return Statement(STAY, (model.name, model.version, epoch, str(xid), gp, at.term))


async def register(pool: asyncpg.Pool, models: Sequence[Model]) -> None:
    """Give models the checkpoints that they lack, at the start of the log.

    Raises SharedTableError.
    """
    told = (
        [model.name for model in models],
        [model.version for model in models],
        [",".join(tables_of(model)) for model in models],
    )
    for row in await pool.fetch(SHARED, *told):
        raise SharedTableError(
            f"{row['name']} {row['version']} would be folded into {row['in_table']}, which version"
            f" {row['other']} keeps: give it a table of its own"
        )
    await pool.execute(REGISTER, *told)


async def standings(
    pool: asyncpg.Pool, models: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Standing]:
    """Where models stand, in the order of `models`; those that never ran are missing."""
    names, versions = [name for name, _ in models], [version for _, version in models]
    found = {
        (row["name"], row["version"]): Standing(
            position_of(row), row["term"], row["rests"], row["built"]
        )
        for row in await pool.fetch(CHECKPOINTS, names, versions)
    }
    return {model: found[model] for model in models if model in found}


async def standing_at(pool: asyncpg.Pool, name: str, version: int) -> Position:
    """How far a read model has folded the log; the start where it never ran."""
    for row in await pool.fetch(CHECKPOINTS, [name], [version]):
        return position_of(cast("Any", row))
    return START
