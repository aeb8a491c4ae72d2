"""One row for everything that happened with a customer, and pages of them over a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from crm_events.contacts import (
    EventTracked,
    GroupJoined,
    IdAliased,
    OrderCompleted,
    OrderRefunded,
    PageViewed,
    PersonChanged,
    PersonIdentified,
    PersonLinked,
    PersonRegistered,
    PersonUnlinked,
    ScreenViewed,
    TraitsReceived,
)
from crm_events.sales import DealLost, DealOpened, DealReopened, DealStageChanged, DealWon
from crm_projections.model import Projection
from sqlalchemy import Column, DateTime, MetaData, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    import asyncpg
    from crm_events.contacts import Hit, Order
    from crm_events.money import Money
    from crm_events.sales import DealFact
    from crm_projections.model import Key
    from crm_store.log.logged import LoggedEvent

timeline_entry = Table(
    "timeline_entry",
    MetaData(),
    Column("customer_id", Uuid, primary_key=True),
    Column("occurred_at", DateTime(timezone=True), primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("type", Text, nullable=False),
    Column("title", Text, nullable=True),
    Column("amount", Numeric, nullable=True),
    Column("currency", Text, nullable=True),
    Column("detail", JSONB, nullable=False, info={"personal": "customer_id"}),
)

PAGE: Final = """
select t.* from unnest($1::uuid[]) as g(customer_id)
cross join lateral (
    select e.* from timeline_entry e
    where e.customer_id = g.customer_id
      and ($2::timestamptz is null or (e.occurred_at, e.event_id) < ($2, $3::uuid))
      and ($4::timestamptz is null or e.occurred_at <= $4)
    order by e.occurred_at desc, e.event_id desc limit $5
) t
order by t.occurred_at desc, t.event_id desc limit $5
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `detail` is opened: what was told besides."""

    customer_id: UUID
    occurred_at: datetime
    event_id: UUID
    type: str
    title: str | None
    amount: Decimal | None
    currency: str | None
    detail: dict[str, Any]


def _place(logged: LoggedEvent[Any]) -> Key:
    return (logged.partition_key, logged.occurred_at, logged.event_id)


timeline: Final = Projection[Entry](
    name="timeline",
    version=1,
    table=timeline_entry,
    row=Entry,
    key=_place,
    opens=True,
    fresh=True,
)


@timeline.on(PageViewed, ScreenViewed, EventTracked)
def enter_hit(
    _: Entry | None, logged: LoggedEvent[PageViewed | ScreenViewed | EventTracked]
) -> Entry:
    return _entry(logged, title=logged.event.name, detail=_told(logged.event))


@timeline.on(TraitsReceived, IdAliased)
def enter_identity(_: Entry | None, logged: LoggedEvent[TraitsReceived | IdAliased]) -> Entry:
    return _entry(logged, detail=_told(logged.event))


@timeline.on(GroupJoined)
def enter_group(_: Entry | None, logged: LoggedEvent[GroupJoined]) -> Entry:
    return _entry(logged, title=logged.event.group_id, detail=_told(logged.event))


@timeline.on(OrderCompleted, OrderRefunded)
def enter_order(_: Entry | None, logged: LoggedEvent[OrderCompleted | OrderRefunded]) -> Entry:
    order = logged.event
    products = [line.model_dump(mode="json", exclude_none=True) for line in order.products]
    detail = {"products": products, **_told(order)}
    return _entry(logged, title=order.order_id, money=order.total, detail=detail)


@timeline.on(PersonRegistered)
def enter_registration(_: Entry | None, logged: LoggedEvent[PersonRegistered]) -> Entry:
    namespaces = sorted({one.namespace.value for one in logged.event.identifiers})
    return _entry(logged, detail={"namespaces": namespaces})


@timeline.on(PersonChanged)
def enter_change(_: Entry | None, logged: LoggedEvent[PersonChanged]) -> Entry:
    return _entry(logged, title=", ".join(logged.event.fields), detail={})


@timeline.on(PersonIdentified)
def enter_identifier(_: Entry | None, logged: LoggedEvent[PersonIdentified]) -> Entry:
    return _entry(logged, title=logged.event.identifier.namespace.value, detail={})


@timeline.on(PersonLinked)
def enter_link(_: Entry | None, logged: LoggedEvent[PersonLinked]) -> Entry:
    event = logged.event
    return _entry(logged, title=event.reason.value, detail={"into": str(event.into)})


@timeline.on(PersonUnlinked)
def enter_unlink(_: Entry | None, logged: LoggedEvent[PersonUnlinked]) -> Entry:
    return _entry(logged, detail={"was_into": str(logged.event.was_into)})


@timeline.on(DealOpened)
def enter_deal(_: Entry | None, logged: LoggedEvent[DealOpened]) -> Entry:
    deal = logged.event
    detail = {**_of_deal(deal), "pipeline": deal.pipeline}
    if isinstance(deal.title, str):
        detail["title"] = deal.title
    return _entry(logged, title=deal.stage, money=deal.amount, detail=detail)


@timeline.on(DealStageChanged)
def enter_move(_: Entry | None, logged: LoggedEvent[DealStageChanged]) -> Entry:
    detail = {**_of_deal(logged.event), "from_stage": logged.event.from_stage}
    return _entry(logged, title=logged.event.stage, detail=detail)


@timeline.on(DealWon)
def enter_win(_: Entry | None, logged: LoggedEvent[DealWon]) -> Entry:
    detail = {**_of_deal(logged.event), "won_on": logged.event.won_on.isoformat()}
    return _entry(logged, money=logged.event.amount, detail=detail)


@timeline.on(DealLost)
def enter_loss(_: Entry | None, logged: LoggedEvent[DealLost]) -> Entry:
    detail = _of_deal(logged.event)
    if isinstance(logged.event.note, str):
        detail["note"] = logged.event.note
    return _entry(logged, title=logged.event.reason, detail=detail)


@timeline.on(DealReopened)
def enter_reopening(_: Entry | None, logged: LoggedEvent[DealReopened]) -> Entry:
    return _entry(logged, title=logged.event.stage, detail=_of_deal(logged.event))


async def entries(
    pool: asyncpg.Pool,
    customer_ids: Sequence[UUID],
    *,
    before: tuple[datetime, UUID] | None,
    as_of: datetime | None,
    limit: int,
) -> list[Entry]:
    """The newest entries of these customers, as one list: behind `before`, up to `as_of`."""
    at, event_id = before or (None, None)
    rows = await pool.fetch(PAGE, list(customer_ids), at, event_id, as_of, limit)
    return [_row(row) for row in rows]


def _row(row: asyncpg.Record) -> Entry:
    return Entry(
        customer_id=row["customer_id"],
        occurred_at=row["occurred_at"],
        event_id=row["event_id"],
        type=row["type"],
        title=row["title"],
        amount=row["amount"],
        currency=row["currency"],
        detail=orjson.loads(row["detail"]),
    )


def _entry(
    logged: LoggedEvent[Any],
    *,
    detail: dict[str, Any],
    title: str | None = None,
    money: Money | None = None,
) -> Entry:
    return Entry(
        customer_id=logged.partition_key,
        occurred_at=logged.occurred_at,
        event_id=logged.event_id,
        type=logged.type,
        title=title,
        amount=None if money is None else money.amount,
        currency=None if money is None else money.currency,
        detail=detail,
    )


def _of_deal(deal: DealFact) -> dict[str, Any]:
    return {"deal_id": str(deal.deal_id)}


def _told(event: Hit | Order) -> dict[str, Any]:
    """What the sender told besides; nothing where it was erased or is empty."""
    told = {"properties": event.properties, "context": event.context}
    return {name: value for name, value in told.items() if isinstance(value, dict) and value}
