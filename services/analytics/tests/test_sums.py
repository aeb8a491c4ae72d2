"""The fold of engagement, without a database: any order of facts gives the same sums."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from analytics.engagement.decay import Decay
from analytics.engagement.explanation import explain
from analytics.engagement.model import read_model
from analytics.engagement.sums import (
    DayKey,
    Sums,
    add_up,
    apply_caps,
    together,
    weigh_all,
)
from analytics.engagement.weighing import scale
from crm_events.topics import CONTRACT
from heard import (
    DAY,
    HOUR,
    LANDMARK,
    MODEL,
    customer,
    event_id,
    heard,
    order,
    page,
    refund,
    tracked,
)
from hypothesis import given, settings
from hypothesis import strategies as st

model = read_model(MODEL, CONTRACT)
weigh = scale(model)

moments = st.integers(min_value=0, max_value=4 * 24 * 60).map(
    lambda minutes: LANDMARK + timedelta(minutes=minutes)
)
kinds = st.sampled_from(
    [page(), page(2), order(), order(number=2), refund(), tracked("Signed Up"), tracked("Left"),
     tracked("Clicked"), tracked("Clicked", 2)]
)  # fmt: skip
delays = st.sampled_from([timedelta(0), DAY, timedelta(hours=-3)])


@st.composite
def histories(draw, most=40):
    """Facts of two customers, some late, some claiming to come from the future."""
    return [
        heard(event, at, number=n, recorded_at=at + delay)
        for n, (event, at, delay) in enumerate(
            draw(st.lists(st.tuples(kinds, moments, delays), max_size=most))
        )
    ]


def fold(facts, *, batch=1000):
    """Sums and days as the read model keeps them, folded in batches."""
    sums: dict[object, Sums] = {}
    days: dict[DayKey, bytes] = {}
    for start in range(0, len(facts), batch):
        weighed = weigh_all(facts[start : start + batch], weigh)
        days.update(apply_caps(weighed, days))
        for who, tally in weighed.tallies.items():
            sums[who] = add_up(sums.get(who, Sums()), tally)
    return sums, days


def taken_of(days):
    """The ids of the facts that the only day took, in order."""
    (packed,) = days.values()
    return [packed[at + 8 : at + 24] for at in range(0, len(packed), 32)]


def same(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) <= 1e-12


@settings(max_examples=200)
@given(histories(), st.randoms(use_true_random=False), st.integers(1, 7))
def test_facts_in_any_order_and_batching_give_the_same_rows(facts, random, batch):
    sums, days = fold(facts)

    others, other_days = fold(random.sample(facts, len(facts)), batch=batch)

    assert other_days == days
    assert others.keys() == sums.keys()
    for who, expected in sums.items():
        found = others[who]
        assert same(found.s, expected.s)
        assert same(found.s_negative, expected.s_negative)
        assert (found.counted, found.clamped, found.last_fact_at) == (
            expected.counted,
            expected.clamped,
            expected.last_fact_at,
        )


@settings(max_examples=200)
@given(histories(), st.integers(1, 7))
def test_the_sums_are_the_direct_sum_of_what_counts(facts, batch):
    sums, _ = fold(facts, batch=batch)
    at = LANDMARK + 40 * DAY

    explained = explain(facts, model, at=at)

    whole = together(sums.values())
    assert model.decay.value(whole.s, at) == pytest.approx(explained.positive, rel=1e-12)
    assert model.decay.value(whole.s_negative, at) == pytest.approx(explained.negative, rel=1e-12)
    assert whole.counted == sum(one.counts for one in explained.contributions)


def test_a_cap_takes_the_first_of_a_day_whenever_they_arrive():
    late = heard(page(), LANDMARK + HOUR, number=9)
    facts = [heard(page(), LANDMARK + n * HOUR, number=n) for n in (2, 3, 4, 5)]

    sums, days = fold([*facts, late], batch=1)

    assert taken_of(days) == [event_id(n).bytes for n in (9, 2, 3)]
    counted = [0.5 * math.exp(model.decay.rate * 3600 * n) for n in (1, 2, 3)]
    assert math.exp(sums[customer(1)].s) == pytest.approx(math.fsum(counted), rel=1e-14)
    assert sums[customer(1)].counted == 3
    assert sums[customer(1)].last_fact_at == LANDMARK + 5 * HOUR


def test_a_cap_tells_facts_of_one_instant_apart_by_their_ids():
    facts = [heard(page(), LANDMARK, number=n) for n in (4, 3, 2, 1)]

    _, days = fold(facts, batch=1)

    assert taken_of(days) == [event_id(n).bytes for n in (1, 2, 3)]


def test_a_cap_begins_anew_with_the_day_in_utc():
    before = [heard(page(), LANDMARK - HOUR, number=n) for n in range(5)]
    behind = [heard(page(), LANDMARK, number=n) for n in range(5, 10)]

    sums, _ = fold([*before, *behind])

    assert sums[customer(1)].counted == 6


def test_a_cap_holds_for_each_kind_alone():
    facts = [
        heard(tracked(name), LANDMARK, number=n) for n, name in enumerate(["Signed Up", "Left"])
    ]

    sums, _ = fold(facts)

    assert sums[customer(1)].counted == 2


def test_a_time_more_than_five_minutes_ahead_counts_when_it_was_recorded():
    ahead = heard(order(), LANDMARK + timedelta(minutes=5, seconds=1), recorded_at=LANDMARK)

    sums, _ = fold([ahead])

    assert sums[customer(1)].clamped == 1
    assert sums[customer(1)].s == pytest.approx(math.log(20), rel=1e-15)


def test_a_time_five_minutes_ahead_is_believed():
    ahead = heard(order(), LANDMARK + timedelta(minutes=5), recorded_at=LANDMARK)

    sums, _ = fold([ahead])

    assert sums[customer(1)].clamped == 0
    assert sums[customer(1)].last_fact_at == LANDMARK + timedelta(minutes=5)


def test_facts_decades_apart_do_not_overflow():
    facts = [heard(order(), LANDMARK + n * 3650 * DAY, number=n + 9) for n in range(-9, 10)]

    sums, _ = fold(facts, batch=1)

    whole = sums[customer(1)]
    assert whole.counted == 19
    assert model.decay.value(whole.s, LANDMARK + 9 * 3650 * DAY) == pytest.approx(20, rel=1e-12)


def test_what_speaks_against_has_a_sum_of_its_own():
    sums, _ = fold([heard(order(), LANDMARK, number=1), heard(refund(), LANDMARK, number=2)])

    assert math.exp(sums[customer(1)].s) == pytest.approx(20)
    assert math.exp(sums[customer(1)].s_negative) == pytest.approx(15)


def test_an_event_counts_under_the_first_kind_that_takes_it():
    assert weigh(heard(tracked("Signed Up"), LANDMARK))[0].name == "sign-up"
    assert weigh(heard(tracked("Clicked"), LANDMARK))[0].name == "tracked"


def test_an_amount_adds_its_logarithm():
    text = MODEL.replace('"weight": 20', '"weight": 20, "per_log_amount": 3')
    weigh_amounts = scale(read_model(text, CONTRACT))

    weighed = weigh_amounts(heard(order("99.00"), LANDMARK))

    assert math.exp(weighed[2]) == pytest.approx(20 + 3 * math.log(100), rel=1e-15)


def test_a_rate_is_of_the_half_life():
    assert Decay(LANDMARK, 10.0).rate == math.log(2) / 10
