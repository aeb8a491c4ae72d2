"""The checkpoint of a bare loop: made and moved by the product's statements, with no owner."""

from __future__ import annotations

from datetime import datetime

import asyncpg
from crm_projections.checkpoints import MOVE, REGISTER
from crm_store.log.entries import Statement
from crm_store.log.position import Position

NO_TABLES = ""
FIRST_TERM = 0


async def register(on: asyncpg.Pool | asyncpg.Connection, name: str, version: int = 1) -> None:
    """Give the loop the checkpoint that it lacks, at the start of the log."""
    await on.execute(REGISTER, [name], [version], [NO_TABLES])


def moved(
    name: str, version: int, *, start: Position, end: Position, recorded_at: datetime
) -> Statement:
    return Statement(
        MOVE,
        (
            end.epoch, str(end.xid), end.gp, recorded_at, name, version,
            start.epoch, str(start.xid), start.gp, FIRST_TERM,
        ),
    )  # fmt: skip
