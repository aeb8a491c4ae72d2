"""Money: an exact amount in a currency."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer

from crm_events.base import Value


def _plain(amount: Decimal) -> Decimal:
    if not amount.is_finite():
        raise ValueError("an amount is a finite number")
    return amount


Amount = Annotated[
    Decimal,
    Field(max_digits=18, decimal_places=6, allow_inf_nan=False),
    AfterValidator(_plain),
    PlainSerializer(lambda amount: format(amount, "f"), return_type=str, when_used="json"),
]
"""At most 18 digits, 6 of them after the point; a string on the wire, so nobody rounds it."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217, upper case."""


class Money(Value):
    amount: Amount
    currency: Currency


def amount_and_currency(money: Money | None) -> tuple[Decimal | None, str | None]:
    """As two columns keep it."""
    return (None, None) if money is None else (money.amount, money.currency)
