"""Orders in Segment's e-commerce specification, read as money and products. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from crm_events.contacts import Order, OrderCompleted, OrderRefunded, Product
from crm_events.errors import BadInputError
from crm_events.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping

ORDERS: Final[Mapping[str, type[Order]]] = {
    "Order Completed": OrderCompleted,
    "Order Refunded": OrderRefunded,
}
"""The tracked events that are orders, by the name the specification gives them."""

TOTAL_FIELDS: Final = ("total", "revenue", "value")
"""Where the money may stand, in this order; without any of them the products are added up."""

MAX_PRODUCTS: Final = 1_000
MAX_TEXT_BYTES: Final = 255
EXACT_DIGITS: Final = 15
"""Decimal digits a binary double carries faithfully."""
DECIMAL_PLACES: Final = 6
LARGEST: Final = Decimal(10) ** 12
NOISE: Final = Decimal(10) ** -DECIMAL_PLACES

_PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Za-z]{3}", re.ASCII)
_PRODUCT_TEXTS: Final = ("product_id", "sku", "name", "category")
_PRODUCT_AMOUNTS: Final = ("price", "quantity")
_TAKEN: Final = frozenset({"order_id", "currency", "products"})


def order_fields(properties: Mapping[str, Any], *, currency: str) -> dict[str, Any]:
    """An order's own fields, from what was told of it; `currency` is of orders that name none.

    Raises:
        BadInputError: its id, money or products cannot be read, or its total is below zero.
    """
    lines, rest_of_lines = _products(properties.get("products"))
    taken, total = _total(properties, lines)
    if total < 0:
        raise BadInputError(f"/properties/{taken}", "is below zero", "invalid-money")
    rest = {
        name: value for name, value in properties.items() if name not in _TAKEN and name != taken
    }
    if any(rest_of_lines):
        rest["products"] = rest_of_lines
    return {
        "order_id": _order_id(properties.get("order_id")),
        "total": Money(amount=total, currency=_currency(properties.get("currency"), currency)),
        "products": lines,
        "properties": rest,
    }


def amount(value: object, pointer: str) -> Decimal:
    """An exact amount: a JSON number or its text, below 10^12, at most 6 decimal places.

    A double that stands for a short decimal is that decimal: 3.3000000000000003, which a cart
    computes from 1.1 * 3, is 3.3. One whose digits beyond the fifteenth matter is refused.

    Raises:
        BadInputError: it is none.
    """
    match value:
        case bool():
            raise _unreadable(pointer)
        case int():
            number = Decimal(value)
        case float():
            exact = Decimal(repr(value))
            number = Decimal(f"{value:.{EXACT_DIGITS}g}")
            if not exact.is_finite() or abs(exact - number) >= NOISE:
                raise _unreadable(pointer)
        case str() if _PLAIN_NUMBER.fullmatch(value.strip()):
            number = Decimal(value.strip())
        case _:
            raise _unreadable(pointer)
    rounded = number.quantize(NOISE) if abs(number) < LARGEST else None
    if rounded is None or rounded != number:
        raise _unreadable(pointer)
    return rounded.normalize() + 0  # + 0: no negative zero


def _total(properties: Mapping[str, Any], lines: tuple[Product, ...]) -> tuple[str, Decimal]:
    for name in TOTAL_FIELDS:
        if properties.get(name) is not None:
            return name, amount(properties[name], f"/properties/{name}")
    if not lines:
        raise BadInputError("/properties/total", "is missing", "invalid-money")
    total = Decimal(0)
    for at, line in enumerate(lines):
        if line.price is None:
            raise BadInputError(f"/properties/products/{at}/price", "is missing", "invalid-money")
        total += line.price * (Decimal(1) if line.quantity is None else line.quantity)
    return "products", amount(format(total, "f"), "/properties/products")


def _products(value: object) -> tuple[tuple[Product, ...], list[dict[str, Any]]]:
    """The lines, and of each what else was told about it."""
    if value is None:
        return (), []
    if not isinstance(value, list):
        raise BadInputError("/properties/products", "is no list", "invalid-products")
    told = cast("list[object]", value)
    if len(told) > MAX_PRODUCTS:
        raise BadInputError(
            "/properties/products", f"has above {MAX_PRODUCTS} lines", "invalid-products"
        )
    lines: list[Product] = []
    rest: list[dict[str, Any]] = []
    for at, line in enumerate(told):
        pointer = f"/properties/products/{at}"
        if not isinstance(line, dict):
            raise BadInputError(pointer, "is no JSON object", "invalid-products")
        given = cast("dict[str, Any]", line)
        lines.append(_product(given, pointer))
        rest.append(
            {
                name: value
                for name, value in given.items()
                if name not in _PRODUCT_TEXTS and name not in _PRODUCT_AMOUNTS
            }
        )
    return tuple(lines), rest


def _product(given: Mapping[str, Any], pointer: str) -> Product:
    fields: dict[str, Any] = {
        name: _text(given.get(name), f"{pointer}/{name}") for name in _PRODUCT_TEXTS
    }
    for name in _PRODUCT_AMOUNTS:
        if given.get(name) is not None:
            fields[name] = amount(given[name], f"{pointer}/{name}")
    return Product(**fields)


def _text(value: object, pointer: str) -> str | None:
    match value:
        case None:
            return None
        case bool():
            pass
        case int():
            return str(value)
        case str() if len(value.encode()) <= MAX_TEXT_BYTES:
            return value
        case _:
            pass
    raise BadInputError(pointer, f"is no text of at most {MAX_TEXT_BYTES} bytes", "invalid-field")


def _order_id(value: object) -> str:
    order_id = _text(value, "/properties/order_id")
    if order_id is None or not order_id.strip():
        raise BadInputError("/properties/order_id", "is missing", "missing-id")
    return order_id


def _currency(value: object, default: str) -> str:
    if value is None or value == "":
        return default
    if isinstance(value, str) and _CURRENCY.fullmatch(value.strip()):
        return value.strip().upper()
    raise BadInputError("/properties/currency", "is no currency code of ISO 4217", "invalid-money")


def _unreadable(pointer: str) -> BadInputError:
    return BadInputError(
        pointer,
        "is no exact amount of at most 12 digits before and 6 after the point",
        "invalid-money",
    )
