"""The read model `buying`: orders and refunds per customer id and currency, exact to the cent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from crm_events.contacts import Order, OrderCompleted, OrderRefunded
from crm_events.topics import CONTRACT
from crm_projections.model import Projection
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Numeric, Table, Text, Uuid

from analytics.instants import happened_at

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from crm_store.log.logged import LoggedEvent

TABLE: Final = Table(
    "buying",
    MetaData(),
    Column("customer_id", Uuid, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("orders", BigInteger, nullable=False),
    Column("spent", Numeric, nullable=False),
    Column("refunds", BigInteger, nullable=False),
    Column("refunded", Numeric, nullable=False),
    Column("first_order_at", DateTime(timezone=True)),
    Column("last_order_at", DateTime(timezone=True)),
    Column("last_refund_at", DateTime(timezone=True)),
)

ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Buying:
    """What a customer bought in one currency; amounts in that currency."""

    customer_id: UUID
    currency: str
    orders: int = 0
    spent: Decimal = ZERO
    refunds: int = 0
    refunded: Decimal = ZERO
    first_order_at: datetime | None = None
    last_order_at: datetime | None = None
    last_refund_at: datetime | None = None

    @property
    def money(self) -> Decimal:
        """What stayed: spent less what went back."""
        return self.spent - self.refunded


def _total(logged: LoggedEvent[Any]) -> tuple[Decimal, str]:
    """Amount and currency. Read from the JSON as it is written today: a tenth of decoding it."""
    if logged.schema_version == CONTRACT.classes[logged.type].version:
        total: dict[str, str] = logged.data["total"]
        return Decimal(total["amount"]), total["currency"]
    order: Order = logged.event
    return order.total.amount, order.total.currency


def _key(logged: LoggedEvent[Any]) -> tuple[UUID, str]:
    return logged.partition_key, _total(logged)[1]


buying: Final = Projection(name="buying", version=1, table=TABLE, row=Buying, key=_key)


@buying.on(OrderCompleted)
def add_order(row: Buying | None, logged: LoggedEvent[OrderCompleted]) -> Buying:
    row = row or Buying(*logged.key)
    at = happened_at(logged.occurred_at, logged.recorded_at)
    return replace(
        row,
        orders=row.orders + 1,
        spent=row.spent + _total(logged)[0],
        first_order_at=at if row.first_order_at is None else min(row.first_order_at, at),
        last_order_at=at if row.last_order_at is None else max(row.last_order_at, at),
    )


@buying.on(OrderRefunded)
def add_refund(row: Buying | None, logged: LoggedEvent[OrderRefunded]) -> Buying:
    row = row or Buying(*logged.key)
    at = happened_at(logged.occurred_at, logged.recorded_at)
    return replace(
        row,
        refunds=row.refunds + 1,
        refunded=row.refunded + _total(logged)[0],
        last_refund_at=at if row.last_refund_at is None else max(row.last_refund_at, at),
    )


def bought_together(customer_id: UUID, rows: Iterable[Buying]) -> list[Buying]:
    """What a group bought, one row per currency, by currency; `customer_id` names the group."""
    by_currency: dict[str, Buying] = {}
    for row in rows:
        so_far = by_currency.get(row.currency) or Buying(customer_id, row.currency)
        by_currency[row.currency] = replace(
            so_far,
            orders=so_far.orders + row.orders,
            spent=so_far.spent + row.spent,
            refunds=so_far.refunds + row.refunds,
            refunded=so_far.refunded + row.refunded,
            first_order_at=_of(min, so_far.first_order_at, row.first_order_at),
            last_order_at=_of(max, so_far.last_order_at, row.last_order_at),
            last_refund_at=_of(max, so_far.last_refund_at, row.last_refund_at),
        )
    return [by_currency[currency] for currency in sorted(by_currency)]


def _of(choose: Any, *instants: datetime | None) -> datetime | None:  # noqa: ANN401  # min or max
    known = [at for at in instants if at is not None]
    return reduce(choose, known) if known else None
