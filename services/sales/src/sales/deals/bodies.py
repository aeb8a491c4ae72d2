"""What commands about deals look like over HTTP: exact, or refused by the field's name."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from crm_chassis.http.bodies import CommandBody
from crm_chassis.http.bulk import MOST_ITEMS
from crm_chassis.http.terms import LARGEST_VERSION
from crm_events.money import Currency, Money
from pydantic import BeforeValidator, Field

from sales.deals.pipelines import Name
from sales.deals.products import Line

LONGEST_TITLE: Final = 300
LONGEST_NOTE: Final = 5_000
PRODUCT_ID: Final = r"^[!-.0-~]{1,255}$"
"""Visible ASCII but the slash, so that it can stand in a path."""
_DECIMAL: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _decimal(given: object) -> str:
    text = str(given) if type(given) is int else given
    if isinstance(text, str) and _DECIMAL.fullmatch(text):
        return text
    raise ValueError('is a decimal as text, such as "1200.50": at most 12 digits before the point')


def _day(given: object) -> object:
    if isinstance(given, date) or (isinstance(given, str) and _DAY.fullmatch(given)):
        return given
    raise ValueError('is a day, such as "2026-05-31"')


MOST_PRODUCTS: Final = 100
"""Of one call; a deal has twice as many at most."""
GivenAmount = Annotated[Decimal, BeforeValidator(_decimal, json_schema_input_type=str)]
"""Not negative, at most 6 digits after the point; a number with a point was rounded already."""

Day = Annotated[date, BeforeValidator(_day, json_schema_input_type=date)]


class GivenMoney(CommandBody):
    amount: GivenAmount
    currency: Currency

    def money(self) -> Money:
        return Money(amount=self.amount, currency=self.currency)


class Opening(CommandBody):
    customer_id: UUID
    pipeline: Name
    title: Annotated[str, Field(min_length=1, max_length=LONGEST_TITLE)]
    owner_id: UUID
    stage: Name | None = None
    amount: GivenMoney | None = None
    expected_close: Day | None = None


class Move(CommandBody):
    stage: Name


class BulkMove(Move):
    """`if_match`: the deal's version that the caller saw; another one by now is 412."""

    deal_id: UUID
    if_match: Annotated[int, Field(ge=1, le=LARGEST_VERSION)] | None = None


class BulkMoves(CommandBody):
    items: Annotated[list[BulkMove], Field(min_length=1, max_length=MOST_ITEMS)]


class AmountChange(CommandBody):
    """An explicit null: nobody knows any more."""

    amount: GivenMoney | None


class CloseChange(CommandBody):
    """An explicit null: nobody knows any more."""

    expected_close: Day | None


class GivenProduct(CommandBody):
    product_id: Annotated[str, Field(pattern=PRODUCT_ID)]
    quantity: Annotated[GivenAmount, Field(gt=0)]
    unit_price: GivenMoney

    def line(self) -> Line:
        return Line(self.product_id, self.quantity, self.unit_price.money())


class Products(CommandBody):
    products: Annotated[list[GivenProduct], Field(min_length=1, max_length=MOST_PRODUCTS)]


class Win(CommandBody):
    """Won today, for the amount that the deal has, unless stated."""

    won_on: Day | None = None
    amount: GivenMoney | None = None


class Loss(CommandBody):
    reason: Name
    note: Annotated[str, Field(min_length=1, max_length=LONGEST_NOTE)] | None = None


class Reopening(CommandBody):
    """In the stage that the deal was closed in, unless stated."""

    stage: Name | None = None


class Owner(CommandBody):
    owner_id: UUID
