"""The pipeline: one row per deal, as it is and as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

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
from crm_projections.model import Projection, as_of, by_stream
from sqlalchemy import Column, Date, DateTime, Index, Integer, MetaData, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from sales.deals.deal import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from decimal import Decimal
    from uuid import UUID

    from crm_store.log.logged import LoggedEvent

deal = Table(
    "deal",
    MetaData(),
    Column("deal_id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("customer_id", Uuid, nullable=False),
    Column("title", Text, nullable=True, info={"personal": "customer_id"}),
    Column("pipeline", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("stage_since", DateTime(timezone=True), nullable=False),
    Column("status", Text, nullable=False),
    Column("amount", Numeric, nullable=True),
    Column("currency", Text, nullable=True),
    Column("expected_close", Date, nullable=True),
    Column("owner_id", Uuid, nullable=False),
    Column("products", JSONB, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True), nullable=True),
    Column("won_on", Date, nullable=True),
    Column("loss_reason", Text, nullable=True),
    Column("loss_note", Text, nullable=True, info={"personal": "customer_id"}),
    Column("rotted_at", DateTime(timezone=True), nullable=True),
)
Index("deal_newest", deal.c.opened_at, deal.c.deal_id)
Index("deal_of_owner", deal.c.owner_id, deal.c.opened_at, deal.c.deal_id)
Index("deal_of_customer", deal.c.customer_id)
Index("deal_rotted", deal.c.opened_at, deal.c.deal_id)
Index("deal_in_stage", deal.c.pipeline, deal.c.stage, deal.c.opened_at, deal.c.deal_id)


@dataclass(frozen=True, slots=True)
class DealRow:
    """One deal. `version` is its stream's, `products` are as they are on the wire."""

    deal_id: UUID
    version: int
    customer_id: UUID
    title: str | None  # None: erased
    pipeline: str
    stage: str
    stage_since: datetime
    status: str
    amount: Decimal | None
    currency: str | None
    expected_close: date | None
    owner_id: UUID
    products: list[dict[str, Any]]
    opened_at: datetime
    closed_at: datetime | None = None
    won_on: date | None = None
    loss_reason: str | None = None
    loss_note: str | None = None
    rotted_at: datetime | None = None  # it was found to stand in its stage for too long


pipeline: Final = Projection[DealRow](
    name="pipeline", version=1, table=deal, row=DealRow, key=by_stream, opens=True
)


@pipeline.on(DealOpened)
def open_deal(row: DealRow | None, logged: LoggedEvent[DealOpened]) -> DealRow | None:
    if row is not None:
        return row
    event = logged.event
    amount, currency = amount_and_currency(event.amount)
    return DealRow(
        deal_id=logged.stream_id,
        version=logged.stream_version,
        customer_id=event.customer_id,
        title=opened(event.title),
        pipeline=event.pipeline,
        stage=event.stage,
        stage_since=logged.occurred_at,
        status=Status.OPEN.value,
        amount=amount,
        currency=currency,
        expected_close=event.expected_close,
        owner_id=event.owner_id,
        products=[],
        opened_at=logged.occurred_at,
    )


@pipeline.on(DealStageChanged)
def move_deal(row: DealRow | None, logged: LoggedEvent[DealStageChanged]) -> DealRow | None:
    if row is None:
        return None
    version, at = logged.stream_version, logged.occurred_at
    stage = logged.event.stage
    return replace(row, version=version, stage=stage, stage_since=at, rotted_at=None)


@pipeline.on(DealAmountChanged)
def change_amount(row: DealRow | None, logged: LoggedEvent[DealAmountChanged]) -> DealRow | None:
    if row is None:
        return None
    amount, currency = amount_and_currency(logged.event.amount)
    return replace(row, version=logged.stream_version, amount=amount, currency=currency)


@pipeline.on(DealCloseDateChanged)
def change_close(row: DealRow | None, logged: LoggedEvent[DealCloseDateChanged]) -> DealRow | None:
    if row is None:
        return None
    day = logged.event.expected_close
    return replace(row, version=logged.stream_version, expected_close=day)


@pipeline.on(DealProductsChanged)
def change_products(
    row: DealRow | None, logged: LoggedEvent[DealProductsChanged]
) -> DealRow | None:
    if row is None:
        return None
    amount, currency = amount_and_currency(logged.event.amount)
    products = [product.model_dump(mode="json") for product in logged.event.products]
    version = logged.stream_version
    return replace(row, version=version, products=products, amount=amount, currency=currency)


@pipeline.on(DealWon)
def win_deal(row: DealRow | None, logged: LoggedEvent[DealWon]) -> DealRow | None:
    if row is None:
        return None
    amount, currency = amount_and_currency(logged.event.amount)
    return replace(
        row,
        version=logged.stream_version,
        status=Status.WON.value,
        amount=amount,
        currency=currency,
        closed_at=logged.occurred_at,
        won_on=logged.event.won_on,
        rotted_at=None,
    )


@pipeline.on(DealLost)
def lose_deal(row: DealRow | None, logged: LoggedEvent[DealLost]) -> DealRow | None:
    if row is None:
        return None
    return replace(
        row,
        version=logged.stream_version,
        status=Status.LOST.value,
        closed_at=logged.occurred_at,
        loss_reason=logged.event.reason,
        loss_note=opened(logged.event.note),
        rotted_at=None,
    )


@pipeline.on(DealReopened)
def reopen_deal(row: DealRow | None, logged: LoggedEvent[DealReopened]) -> DealRow | None:
    if row is None:
        return None
    return replace(
        row,
        version=logged.stream_version,
        status=Status.OPEN.value,
        stage=logged.event.stage,
        stage_since=logged.occurred_at,
        closed_at=None,
        won_on=None,
        loss_reason=None,
        loss_note=None,
    )


@pipeline.on(DealReassigned)
def reassign_deal(row: DealRow | None, logged: LoggedEvent[DealReassigned]) -> DealRow | None:
    if row is None:
        return None
    return replace(row, version=logged.stream_version, owner_id=logged.event.owner_id)


@pipeline.on(DealRotted)
def mark_rotted(row: DealRow | None, logged: LoggedEvent[DealRotted]) -> DealRow | None:
    if row is None:
        return None
    return replace(row, version=logged.stream_version, rotted_at=logged.occurred_at)


def deal_as_of(logged: Sequence[LoggedEvent[Any]], at: datetime) -> DealRow | None:
    """A deal as its events had made it by then; None before it was opened."""
    rows = as_of(pipeline, [one for one in logged if one.occurred_at <= at])
    return next(iter(rows.values()), None)
