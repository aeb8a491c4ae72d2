"""HTTP: recency, frequency and money, of one customer or of all."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.instants import Instant
from crm_chassis.http.pages import Page, Paging, read_cursor, write_cursor
from crm_chassis.http.problems import Problem
from crm_chassis.http.reads import ReadModelName, following
from crm_store.clock import Clock
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, TypeAdapter

from analytics.buying.buying import Buying, bought_together
from analytics.customers.facts import ever_heard
from analytics.customers.groups import Group, group_of
from analytics.customers.links import read_links

SCOPE: Final = "buying:read"
SECONDS_PER_DAY: Final = 86_400.0

COLUMNS: Final = (
    "customer_id, currency, orders, spent, refunds, refunded, first_order_at, last_order_at, "
    "last_refund_at"
)
OF_GROUP: Final = f"select {COLUMNS} from buying where customer_id = any($1::uuid[])"  # noqa: S608  # a constant
ALL: Final = f"""
select {COLUMNS} from buying
where $1::uuid is null or (customer_id, currency) > ($1, $2::text)
order by customer_id, currency limit $3
"""  # noqa: S608  # a constant
PLACE: Final[TypeAdapter[tuple[UUID, str]]] = TypeAdapter(tuple[UUID, str])


class Amounts(BaseModel):
    """What was bought in one currency. Amounts are exact, as text; recency is in days."""

    model_config = ConfigDict(frozen=True)

    currency: str
    recency_days: float | None  # since the last order; None where there is none
    frequency: int  # orders
    money: Decimal  # spent less refunded
    spent: Decimal
    refunds: int
    refunded: Decimal
    first_order_at: datetime | None
    last_order_at: datetime | None
    last_refund_at: datetime | None


class BuyingAnswer(BaseModel):
    """What a customer bought, with all ids that are the same person, per currency."""

    model_config = ConfigDict(frozen=True)

    customer_id: UUID
    root: UUID
    members: list[UUID]
    at: datetime
    amounts: list[Amounts]


class BuyingRow(Amounts):
    """What bears one customer id, whoever it was linked with since."""

    customer_id: UUID


def buying_router(
    *, pool: asyncpg.Pool, read_models: tuple[ReadModelName, ...], clock: Clock
) -> APIRouter:
    router = APIRouter(
        tags=["buying"],
        dependencies=[Depends(requires(SCOPE)), Depends(following(*read_models))],
    )

    @router.get("/customers/{customer_id}/buying")
    async def of_customer(
        customer_id: UUID,
        at: Annotated[
            Instant | None, Query(description="The instant that recency is measured from.")
        ] = None,
    ) -> BuyingAnswer:
        group, rows = await _read(pool, customer_id)
        instant = at or clock()
        return BuyingAnswer(
            customer_id=customer_id,
            root=group.root,
            members=list(group.members),
            at=instant,
            amounts=[
                Amounts(**_amounts(row, instant)) for row in bought_together(group.root, rows)
            ],
        )

    @router.get("/buying")
    async def of_all(paging: Paging) -> Page[BuyingRow]:
        """Every customer id and currency, by id."""
        customer_id, currency = read_cursor(PLACE, paging.cursor) or (None, None)
        found = await pool.fetch(ALL, customer_id, currency, paging.limit)
        rows = [Buying(*row.values()) for row in found]
        instant = clock()
        full = len(rows) == paging.limit
        return Page[BuyingRow](
            items=[
                BuyingRow(customer_id=row.customer_id, **_amounts(row, instant)) for row in rows
            ],
            next=write_cursor(PLACE, (rows[-1].customer_id, rows[-1].currency)) if full else None,
        )

    return router


async def _read(pool: asyncpg.Pool, customer_id: UUID) -> tuple[Group, list[Buying]]:
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        group = group_of(customer_id, await read_links(connection, [customer_id]))
        rows = await connection.fetch(OF_GROUP, list(group.members))
        if not rows and not await ever_heard(connection, group.members):
            raise Problem(404, "unknown-customer", "Nothing was ever heard of this customer.")
    return group, [Buying(*row.values()) for row in rows]


def _amounts(row: Buying, at: datetime) -> dict[str, Any]:
    last = row.last_order_at
    return {
        "currency": row.currency,
        "recency_days": None if last is None else (at - last).total_seconds() / SECONDS_PER_DAY,
        "frequency": row.orders,
        "money": row.money,
        "spent": row.spent,
        "refunds": row.refunds,
        "refunded": row.refunded,
        "first_order_at": row.first_order_at,
        "last_order_at": last,
        "last_refund_at": row.last_refund_at,
    }
