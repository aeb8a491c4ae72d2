"""The deals that sales tells of: one row each, as it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from crm_events.money import amount_and_currency
from crm_events.personal import opened
from crm_events.sales import (
    DealAmountChanged,
    DealCloseDateChanged,
    DealLost,
    DealOpened,
    DealProductsChanged,
    DealReassigned,
    DealReopened,
    DealRotted,
    DealStageChanged,
    DealWon,
)
from crm_projections.model import Projection, by_stream
from sqlalchemy import Column, Date, DateTime, Index, MetaData, Numeric, Table, Text, Uuid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from decimal import Decimal
    from uuid import UUID

    import asyncpg
    from crm_store.log.logged import LoggedEvent

MOST_DEALS: Final = 50
"""So many are in a file at most, those that were opened last; sales has them all."""

deal = Table(
    "deal",
    MetaData(),
    Column("deal_id", Uuid, primary_key=True),
    Column("customer_id", Uuid, nullable=False),
    Column("title", Text, nullable=True, info={"personal": "customer_id"}),
    Column("pipeline", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("amount", Numeric, nullable=True),
    Column("currency", Text, nullable=True),
    Column("expected_close", Date, nullable=True),
    Column("owner_id", Uuid, nullable=False),
    Column("loss_reason", Text, nullable=True),
    Column("rotted_at", DateTime(timezone=True), nullable=True),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)
Index("deal_of_customer", deal.c.customer_id, deal.c.opened_at, deal.c.deal_id)

OF_CUSTOMERS: Final = f"""
select t.* from unnest($1::uuid[]) as g(customer_id)
cross join lateral (
    select d.* from deal d where d.customer_id = g.customer_id
    order by d.opened_at desc, d.deal_id desc limit {MOST_DEALS}
) t
order by t.opened_at desc, t.deal_id desc limit {MOST_DEALS}
"""  # noqa: S608  # constants only


@dataclass(frozen=True, slots=True)
class DealRow:
    """One deal. `status` is open, won or lost."""

    deal_id: UUID
    customer_id: UUID
    title: str | None  # None: erased
    pipeline: str
    stage: str
    status: str
    amount: Decimal | None
    currency: str | None
    expected_close: date | None
    owner_id: UUID
    loss_reason: str | None
    rotted_at: datetime | None  # it was found to stand in its stage for too long
    opened_at: datetime
    changed_at: datetime


deals: Final = Projection[DealRow](
    name="deals", version=1, table=deal, row=DealRow, key=by_stream, opens=True
)


@deals.on(DealOpened)
def open_deal(row: DealRow | None, logged: LoggedEvent[DealOpened]) -> DealRow:
    if row is not None:
        return row
    event = logged.event
    amount, currency = amount_and_currency(event.amount)
    return DealRow(
        deal_id=logged.stream_id,
        customer_id=event.customer_id,
        title=opened(event.title),
        pipeline=event.pipeline,
        stage=event.stage,
        status="open",
        amount=amount,
        currency=currency,
        expected_close=event.expected_close,
        owner_id=event.owner_id,
        loss_reason=None,
        rotted_at=None,
        opened_at=logged.occurred_at,
        changed_at=logged.occurred_at,
    )


@deals.on(DealStageChanged)
def move_deal(row: DealRow | None, logged: LoggedEvent[DealStageChanged]) -> DealRow | None:
    stage, at = logged.event.stage, logged.occurred_at
    return row and replace(row, stage=stage, rotted_at=None, changed_at=at)


@deals.on(DealAmountChanged, DealProductsChanged)
def change_amount(
    row: DealRow | None, logged: LoggedEvent[DealAmountChanged | DealProductsChanged]
) -> DealRow | None:
    amount, currency = amount_and_currency(logged.event.amount)
    return row and replace(row, amount=amount, currency=currency, changed_at=logged.occurred_at)


@deals.on(DealCloseDateChanged)
def change_close(row: DealRow | None, logged: LoggedEvent[DealCloseDateChanged]) -> DealRow | None:
    day = logged.event.expected_close
    return row and replace(row, expected_close=day, changed_at=logged.occurred_at)


@deals.on(DealWon)
def win_deal(row: DealRow | None, logged: LoggedEvent[DealWon]) -> DealRow | None:
    won = logged.event.amount
    return row and replace(
        row,
        status="won",
        amount=won.amount,
        currency=won.currency,
        rotted_at=None,
        changed_at=logged.occurred_at,
    )


@deals.on(DealLost)
def lose_deal(row: DealRow | None, logged: LoggedEvent[DealLost]) -> DealRow | None:
    reason, at = logged.event.reason, logged.occurred_at
    return row and replace(row, status="lost", loss_reason=reason, rotted_at=None, changed_at=at)


@deals.on(DealReopened)
def reopen_deal(row: DealRow | None, logged: LoggedEvent[DealReopened]) -> DealRow | None:
    stage, at = logged.event.stage, logged.occurred_at
    return row and replace(row, status="open", stage=stage, loss_reason=None, changed_at=at)


@deals.on(DealReassigned)
def reassign_deal(row: DealRow | None, logged: LoggedEvent[DealReassigned]) -> DealRow | None:
    return row and replace(row, owner_id=logged.event.owner_id, changed_at=logged.occurred_at)


@deals.on(DealRotted)
def mark_rotted(row: DealRow | None, logged: LoggedEvent[DealRotted]) -> DealRow | None:
    return row and replace(row, rotted_at=logged.occurred_at)


async def deals_of(pool: asyncpg.Pool, customer_ids: Sequence[UUID]) -> list[DealRow]:
    """The deals of these customers that were opened last, 50 at most."""
    rows = await pool.fetch(OF_CUSTOMERS, list(customer_ids))
    return [DealRow(*row.values()) for row in rows]
