"""What lines come to, exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sales.deals.products import AmountTooLarge, CurrencyMismatch, priced, total, with_lines
from told import euros, line


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [
        ("2", "10.50", "21.00"),
        ("0.333333", "0.000003", "0.000001"),
        ("0.5", "0.000001", "0.000001"),
        ("0.4", "0.000001", "0.000000"),
        ("1.000001", "999999.999999", "1000000.999999"),
        ("999999.999999", "999999.999999", "999999999998.000000"),
    ],
)
def test_a_line_is_rounded_half_up_to_six_places(quantity, price, amount):
    told = priced(line(quantity=quantity, price=price))

    assert told.amount == euros(amount)
    assert told.quantity == Decimal(quantity)


def test_a_line_has_at_most_twelve_digits_before_the_point():
    assert priced(line(quantity="1", price="999999999999.999999"))
    with pytest.raises(AmountTooLarge):
        priced(line(quantity="1.000001", price="999999999999.999999"))


def test_a_total_has_no_limit_but_that_of_an_amount():
    half = line(quantity="1", price="500000000000")
    products = with_lines((), (half,))

    assert total(products) == euros("500000000000")
    with pytest.raises(AmountTooLarge):
        total(with_lines(products, (line("pot", "1", "500000000000"),)))


def test_a_total_is_in_one_currency():
    with pytest.raises(CurrencyMismatch, match="EUR and USD"):
        total(with_lines((), (line(), line("pot", currency="USD"))))


def test_nothing_comes_to_nothing_known():
    assert total(()) is None
