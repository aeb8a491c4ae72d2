"""The mathematics of decay against direct sums in high precision."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

import pytest
from analytics.engagement.decay import Decay, log_add, log_net, log_replace, log_sum
from hypothesis import given
from hypothesis import strategies as st

LANDMARK = datetime(2025, 1, 1, tzinfo=UTC)
MONTH = Decay(LANDMARK, half_life_seconds=30 * 86_400.0)

instants = st.datetimes(
    min_value=datetime(1995, 1, 1),  # noqa: DTZ001  # hypothesis wants naive bounds
    max_value=datetime(2055, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
weights = st.floats(min_value=0.01, max_value=1_000)
facts = st.lists(st.tuples(weights, instants), min_size=1, max_size=40)


def exact(items: list[tuple[float, datetime]], at: datetime) -> Decimal:
    """sum of w * 2 ** -((at - t) / half-life) with 50 digits."""
    with localcontext() as context:
        context.prec = 50
        half_life = Decimal(MONTH.half_life_seconds)
        return sum(
            (Decimal(w) * Decimal(2) ** (-_seconds(at - t) / half_life) for w, t in items),
            Decimal(0),
        )


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)) / 1_000_000


def term(w: float, t: datetime) -> float:
    return math.log(w) + MONTH.shift(t)


def close(value: float, expected: Decimal) -> bool:
    return abs(Decimal(value) - expected) <= Decimal("1e-12") * abs(expected)


@given(facts)
def test_the_value_is_the_direct_sum_of_decayed_weights(items):
    at = max(t for _, t in items)

    value = MONTH.value(log_sum([term(w, t) for w, t in items]), at)

    assert close(value, exact(items, at))


@given(facts, st.randoms(use_true_random=False))
def test_facts_one_by_one_in_any_order_give_the_same_value(items, random):
    at = max(t for _, t in items)
    shuffled = random.sample(items, len(items))

    s = None
    for w, t in shuffled:
        s = log_add(s, [term(w, t)])

    assert close(MONTH.value(s, at), exact(items, at))


@given(
    st.lists(weights, max_size=20),
    weights,
    st.floats(min_value=0.5, max_value=1.0),
)
def test_replacing_a_term_equals_never_having_had_it(others, weight, share):
    old, new = math.log(weight), math.log(weight * share)
    rest = [math.log(w) for w in others]

    replaced = log_replace(log_sum([*rest, old]), old, new)

    assert math.exp(replaced) == pytest.approx(math.fsum([*others, weight * share]), rel=1e-12)


def test_terms_a_thousand_years_apart_neither_overflow_nor_vanish():
    early = Decay(LANDMARK, half_life_seconds=86_400.0)
    s = log_sum([early.shift(LANDMARK - timedelta(days=365_000)), early.shift(LANDMARK)])

    assert s == 0.0
    assert math.isfinite(early.value(s, LANDMARK - timedelta(days=365_000)))
    assert early.value(s, LANDMARK + timedelta(days=365_000)) == 0.0


def test_a_weight_is_half_after_one_half_life():
    s = log_sum([term(8.0, LANDMARK)])

    assert MONTH.value(s, LANDMARK + timedelta(days=30)) == pytest.approx(4.0, rel=1e-15)


def test_nothing_has_the_value_zero():
    assert log_sum([]) is None
    assert MONTH.value(None, LANDMARK) == 0.0


def test_what_only_repels_ranks_nowhere():
    assert log_net(None, 1.0) is None
    assert log_net(1.0, 1.0) is None
    assert log_net(1.0, 2.0) is None


@given(weights, weights, instants)
def test_the_net_logarithm_has_the_value_of_the_difference(more, less, at):
    s, s_negative = term(more + less, at), term(less, at)

    net = log_net(s, s_negative)

    assert MONTH.value(net, at) == pytest.approx(
        MONTH.value(s, at) - MONTH.value(s_negative, at), rel=1e-6
    )
