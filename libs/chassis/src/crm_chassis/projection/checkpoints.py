"""Checkpoints: how far each read model has folded the log, moved by compare-and-set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from crm_chassis.log.entries import Statement
from crm_chassis.log.position import START, Position
from crm_chassis.log.statements import guarded
from crm_chassis.log.tail import position_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from crm_chassis.projection.model import Model

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
STAY: Final = """
update projection_checkpoint set moved_at = clock_timestamp()
where name = $1 and version = $2 and epoch = $3 and xid = $4::text::xid8 and gp = $5
"""
LOST: Final = "KM001"
"""SQLSTATE of a compare-and-set that found another value."""
# Rows and checkpoint go together, and the log that they are folded from is on the disk: nobody
# has to wait for the disk here. What PostgreSQL forgets in a crash is folded again.
NO_WAIT: Final = ", set_config('synchronous_commit', 'off', true)"


@dataclass(frozen=True, slots=True)
class Move:
    """Where a model goes from where its owner believes it to be; else it is another's by now."""

    model: Model
    start: Position
    end: Position
    recorded_at: datetime  # of the row at `end`

    @property
    def fence(self) -> Statement:
        """Changes one row, or none where another owner moved the checkpoint."""
        start, end, model = self.start, self.end, self.model
        arguments = (
            end.epoch, str(end.xid), end.gp, self.recorded_at, model.name, model.version,
            start.epoch, str(start.xid), start.gp,
        )  # fmt: skip
        return Statement(MOVE, arguments)

    async def write(self, pool: asyncpg.Pool, writes: Sequence[Statement]) -> float:
        """Move and write, as one statement; seconds it took.

        Raises an error with SQLSTATE KM001 when another owner moved the checkpoint.
        """
        return await write_behind(self.fence, pool, writes)


async def write_behind(fence: Statement, pool: asyncpg.Pool, writes: Sequence[Statement]) -> float:
    """Write if `fence` changes its one row, as one statement; seconds it took.

    Raises an error with SQLSTATE KM001 when it changes none.
    """
    statement = guarded(fence, writes)
    began = time.perf_counter()
    await pool.fetchval(statement.sql + NO_WAIT, *statement.args)
    return time.perf_counter() - began


def stayed(model: Model, at: Position) -> Statement:
    """Write beside a model that stays where its owner believes it to be."""
    return Statement(STAY, (model.name, model.version, at.epoch, str(at.xid), at.gp))


async def standing_at(pool: asyncpg.Pool, name: str, version: int) -> Position:
    """How far a read model has folded the log; the start where it never ran."""
    for row in await pool.fetch(CHECKPOINTS, [name], [version]):
        return position_of(cast("Any", row))
    return START
