"""The products of a deal: their lines, and what they come to. Exact: nothing is a float here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING, Final

from crm_deciding.refusal import Refusal
from crm_events.money import Money
from crm_events.sales import DealProduct

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PRODUCTS: Final = 200
LARGEST_AMOUNT: Final = Decimal("999999999999.999999")
PLACES: Final = 6
EXACT: Final = Context(prec=48, rounding=ROUND_HALF_UP)
"""Two amounts of 18 digits multiply to 36; 200 of them sum up with three more."""


@dataclass(frozen=True, slots=True)
class Line:
    """So much of a product at a price. Neither is negative."""

    product_id: str
    quantity: Decimal
    unit_price: Money


class ProductGivenTwice(Refusal):
    """A product stands on a deal once."""


class TooManyProducts(Refusal):
    """A deal has at most 200 products."""


class CurrencyMismatch(Refusal):
    """A deal is in one currency; it has none while it has neither amount nor products."""


class AmountTooLarge(Refusal):
    """An amount has at most 12 digits before the point."""


def priced(line: Line) -> DealProduct:
    """The line with what it comes to. Raises AmountTooLarge."""
    amount = EXACT.multiply(line.quantity, line.unit_price.amount)
    if -int(amount.as_tuple().exponent) > PLACES:
        amount = amount.quantize(Decimal(1).scaleb(-PLACES), context=EXACT)
    return DealProduct(
        product_id=line.product_id,
        quantity=line.quantity,
        unit_price=line.unit_price,
        amount=_money(amount, line.unit_price.currency),
    )


def with_lines(had: tuple[DealProduct, ...], lines: Iterable[Line]) -> tuple[DealProduct, ...]:
    """The products with these lines: a product that is there takes its new line in its place.

    Raises:
        Refusal: one of those above but CurrencyMismatch.
    """
    products = {product.product_id: product for product in had}
    given: set[str] = set()
    for line in lines:
        if line.product_id in given:
            raise ProductGivenTwice(f"The product {line.product_id} is given twice.")
        given.add(line.product_id)
        products[line.product_id] = priced(line)
    if len(products) > MAX_PRODUCTS:
        raise TooManyProducts
    return tuple(products.values())


def total(products: tuple[DealProduct, ...]) -> Money | None:
    """What the products come to; None where there are none.

    Raises:
        CurrencyMismatch: they are in more than one currency.
        AmountTooLarge: together they are more than an amount can be.
    """
    if not products:
        return None
    currency = products[0].amount.currency
    amount = Decimal(0)
    for product in products:
        if product.amount.currency != currency:
            raise CurrencyMismatch(f"Products in {currency} and {product.amount.currency}.")
        amount = EXACT.add(amount, product.amount.amount)
    return _money(amount, currency)


def _money(amount: Decimal, currency: str) -> Money:
    if amount > LARGEST_AMOUNT:
        raise AmountTooLarge
    return Money(amount=amount, currency=currency)
