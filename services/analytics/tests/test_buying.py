"""Buying, folded without a database: exact sums, whatever order orders come in."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from analytics.buying.buying import bought_together, buying
from heard import DAY, LANDMARK, customer, heard, order, refund
from hypothesis import given
from hypothesis import strategies as st

amounts = st.decimals(min_value=0, max_value=10**9, places=6).map(lambda amount: f"{amount:f}")
facts = st.lists(
    st.builds(
        lambda make, amount, days, currency: (make(amount, 1, currency), LANDMARK + days * DAY),
        st.sampled_from([order, refund]),
        amounts,
        st.integers(0, 500),
        st.sampled_from(["USD", "EUR"]),
    ),
    max_size=30,
)


def rows_of(events):
    rows = {}
    buying.fold_into(rows, events)
    return rows


@given(facts, st.randoms(use_true_random=False))
def test_money_is_summed_exactly_in_any_order(told, random):
    events = [heard(event, at, number=n) for n, (event, at) in enumerate(told)]

    rows = rows_of(events)

    assert rows_of(random.sample(events, len(events))) == rows
    for (_, currency), row in rows.items():
        orders = [e.total.amount for e, _ in told
                  if e.total.currency == currency and e.type.endswith("completed")]  # fmt: skip
        assert (row.orders, row.spent) == (len(orders), sum(orders, Decimal(0)))
        assert row.money == row.spent - row.refunded


def test_first_and_last_are_instants_of_orders_not_of_refunds():
    events = [
        heard(order(), LANDMARK + 2 * DAY, number=1),
        heard(order(), LANDMARK + DAY, number=2),
        heard(refund(), LANDMARK + 3 * DAY, number=3),
    ]

    row = rows_of(events)[customer(1), "USD"]

    assert (row.first_order_at, row.last_order_at) == (LANDMARK + DAY, LANDMARK + 2 * DAY)
    assert row.last_refund_at == LANDMARK + 3 * DAY


def test_an_order_that_claims_to_be_from_the_future_happened_when_it_was_recorded():
    event = heard(order(), LANDMARK + DAY, recorded_at=LANDMARK + timedelta(hours=1))

    row = rows_of([event])[customer(1), "USD"]

    assert row.last_order_at == LANDMARK + timedelta(hours=1)


def test_a_group_buys_together_in_each_currency_alone():
    rows = rows_of(
        [
            heard(order("1.10", 1), LANDMARK, number=1),
            heard(order("2.20", 2), LANDMARK + DAY, number=2),
            heard(order("3.30", 2, "EUR"), LANDMARK, number=3),
        ]
    )

    euros, dollars = bought_together(customer(1), rows.values())

    assert (euros.currency, euros.spent) == ("EUR", Decimal("3.30"))
    assert (dollars.orders, dollars.spent) == (2, Decimal("3.30"))
    assert dollars.last_order_at == LANDMARK + DAY
