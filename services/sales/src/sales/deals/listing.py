"""Rows of the pipeline as they are asked for: one, or a page of those that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from sales.deals.pipeline import DealRow, deal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from sales.deals.deal import Status

COLUMNS: Final = ", ".join(f"d.{column.name}" for column in deal.columns)
ONE: Final = f"select {COLUMNS} from deal d where d.deal_id = $1"  # noqa: S608  # constants only

Place = tuple["datetime", "UUID"]
"""When a deal was opened, and its id."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deals are asked for; None leaves it open."""

    pipeline: str | None = None
    stage: str | None = None
    status: Status | None = None
    owner_id: UUID | None = None
    customer_ids: Sequence[UUID] | None = None
    rotted: bool | None = None


async def read_deal(pool: asyncpg.Pool, deal_id: UUID) -> DealRow | None:
    row = await pool.fetchrow(ONE, deal_id)
    return None if row is None else _deal(row)


async def read_page(
    pool: asyncpg.Pool, wanted: Wanted, *, before: Place | None, limit: int
) -> list[DealRow]:
    """The deals that were opened last, behind `before`."""
    # What is not asked for is not in the statement: a plan for everything would use no index.
    told: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("d.pipeline = ${}", (wanted.pipeline,)),
        ("d.stage = ${}", (wanted.stage,)),
        ("d.status = ${}", (wanted.status,)),
        ("d.owner_id = ${}", (wanted.owner_id,)),
        ("d.customer_id = any(${}::uuid[])", (wanted.customer_ids,)),
        ("(d.rotted_at is not null) = ${}", (None if wanted.rotted else wanted.rotted,)),
        ("(d.opened_at, d.deal_id) < (${}::timestamptz, ${}::uuid)", before or (None,)),
    )
    conditions, values = ["true"], list[Any]([limit])
    if wanted.rotted:  # as the index of those has it
        conditions.append("d.rotted_at is not null")
    for condition, given in told:
        if given[0] is not None:
            numbers = range(len(values) + 1, len(values) + 1 + len(given))
            conditions.append(condition.format(*numbers))
            values += given
    rows = await pool.fetch(
        f"select {COLUMNS} from deal d where {' and '.join(conditions)} "  # noqa: S608  # constants
        "order by d.opened_at desc, d.deal_id desc limit $1",
        *values,
    )
    return [_deal(row) for row in rows]


def _deal(row: asyncpg.Record) -> DealRow:
    return replace(DealRow(*row.values()), products=orjson.loads(row["products"]))
