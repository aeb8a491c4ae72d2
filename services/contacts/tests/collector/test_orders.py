"""Orders as Segment's e-commerce specification writes them, and money that is exact or refused."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from contacts.collector.orders import ORDERS, amount, order_fields
from crm_events.contacts import OrderCompleted, OrderRefunded, Product
from crm_events.errors import BadInputError
from crm_events.money import Money

COMMON = {"customer_id": UUID(int=1), "message_id": "m", "source": "shop", "context": {}}


def order(**properties):
    return OrderCompleted(
        **{**COMMON, **order_fields({"order_id": "o-1", **properties}, currency="EUR")}
    )


def test_an_order_is_read_with_its_money_and_products():
    found = order(
        total=27.5,
        revenue=25,
        currency="usd",
        coupon="may",
        products=[
            {"product_id": "p1", "sku": "45790-32", "name": "Monopoly", "price": 19,
             "quantity": 1, "category": "Games", "brand": "Hasbro"},
            {"product_id": 505, "price": "3.00", "quantity": "2"},
        ],
    )  # fmt: skip

    assert found.order_id == "o-1"
    assert found.total == Money(amount=Decimal("27.5"), currency="USD")
    assert found.products == (
        Product(product_id="p1", sku="45790-32", name="Monopoly", category="Games",
                price=Decimal(19), quantity=Decimal(1)),
        Product(product_id="505", price=Decimal(3), quantity=Decimal(2)),
    )  # fmt: skip
    assert found.properties == {
        "revenue": 25,
        "coupon": "may",
        "products": [{"brand": "Hasbro"}, {}],
    }


def test_a_refund_is_an_order_that_went_back():
    found = order_fields({"order_id": 7, "total": "30"}, currency="EUR")

    assert ORDERS["Order Refunded"] is OrderRefunded
    assert (found["order_id"], found["total"]) == ("7", Money(amount=Decimal(30), currency="EUR"))


@pytest.mark.parametrize(
    ("properties", "total"),
    [
        ({"total": 3, "revenue": 2, "value": 1}, "3"),
        ({"revenue": 2, "value": 1}, "2"),
        ({"value": 1}, "1"),
        ({"total": None, "value": "1.50"}, "1.5"),
        ({"total": 0}, "0"),
        ({"products": [{"price": 2, "quantity": 3}, {"price": 0.5}]}, "6.5"),
    ],
)
def test_the_total_is_where_the_specification_puts_it_first(properties, total):
    assert order(**properties).total.amount == Decimal(total)


@pytest.mark.parametrize(
    ("told", "exact"),
    [
        (19.99, "19.99"),
        (3.3000000000000003, "3.3"),
        (0.1 + 0.2, "0.3"),
        (19.999999999999996, "20"),
        (0.000001, "0.000001"),
        ("0.100000", "0.1"),
        (" 12 ", "12"),
        (10**12 - 1, "999999999999"),
        (-0.0, "0"),
        ("-5.25", "-5.25"),
    ],
)
def test_money_is_exact(told, exact):
    assert amount(told, "/x") == Decimal(exact)


@pytest.mark.parametrize(
    "told",
    ["abc", "$5", "1,234.50", "1.234,50", "1e3", "NaN", "Infinity", "", "1_000", "١٢", True,
     None, [], {}, 10**12, 1e15, 0.0000001, "0.0000001", 12345678901234567.89, 1e300,
     float("nan"), float("inf"), "9" * 40],
)  # fmt: skip
def test_what_is_no_exact_amount_is_refused(told):
    with pytest.raises(BadInputError) as refused:
        amount(told, "/properties/total")

    assert refused.value.pointer == "/properties/total"


@pytest.mark.parametrize(
    ("properties", "pointer"),
    [
        ({}, "/properties/total"),
        ({"total": "abc"}, "/properties/total"),
        ({"total": "abc", "revenue": 5}, "/properties/total"),
        ({"total": -1}, "/properties/total"),
        ({"total": 1, "currency": "dollars"}, "/properties/currency"),
        ({"total": 1, "currency": 840}, "/properties/currency"),
        ({"total": 1, "products": {"a": 1}}, "/properties/products"),
        ({"total": 1, "products": ["a"]}, "/properties/products/0"),
        ({"total": 1, "products": [{"price": "?"}]}, "/properties/products/0/price"),
        ({"total": 1, "products": [{"name": ["x"]}]}, "/properties/products/0/name"),
        ({"total": 1, "products": [{"sku": "s" * 256}]}, "/properties/products/0/sku"),
        ({"total": 1, "products": [{}] * 1001}, "/properties/products"),
        ({"products": [{"quantity": 1}]}, "/properties/products/0/price"),
        ({"total": 1, "order_id": None}, "/properties/order_id"),
        ({"total": 1, "order_id": " "}, "/properties/order_id"),
        ({"total": 1, "order_id": ["o"]}, "/properties/order_id"),
    ],
)
def test_an_order_that_cannot_be_read_names_the_field(properties, pointer):
    with pytest.raises(BadInputError) as refused:
        order(**properties)

    assert refused.value.pointer == pointer
