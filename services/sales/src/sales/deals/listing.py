"""Rows of the pipeline as they are asked for: one, or a page of those that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from sales.deals.pipeline import DealRow, deal
from sales.where import where

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from sales.deals.deal import Status
    from sales.where import Asked

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
    values: list[Any] = [limit]
    asked: tuple[Asked, ...] = (
        ("d.pipeline = ${}", (wanted.pipeline,)),
        ("d.stage = ${}", (wanted.stage,)),
        ("d.status = ${}", (wanted.status,)),
        ("d.owner_id = ${}", (wanted.owner_id,)),
        ("d.customer_id = any(${}::uuid[])", (wanted.customer_ids,)),
        ("(d.rotted_at is not null) = ${}", (None if wanted.rotted else wanted.rotted,)),
        ("(d.opened_at, d.deal_id) < (${}::timestamptz, ${}::uuid)", before or (None,)),
    )
    # As the index of those has it.
    rotted = "d.rotted_at is not null and " if wanted.rotted else ""
    rows = await pool.fetch(
        f"select {COLUMNS} from deal d where {rotted}{where(asked, values=values)} "  # noqa: S608  # constants
        "order by d.opened_at desc, d.deal_id desc limit $1",
        *values,
    )
    return [_deal(row) for row in rows]


def _deal(row: asyncpg.Record) -> DealRow:
    return replace(DealRow(*row.values()), products=orjson.loads(row["products"]))
