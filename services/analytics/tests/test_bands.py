"""Bands: where a score is, when it leaves, and what is told of it, against values at instants."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from analytics.bands.bands import InBand, band_at, changes_of, resting
from analytics.engagement.model import ModelError, load_model, read_model
from analytics.engagement.sums import NOTHING, Sums, add_up, apply_caps, weigh_all
from analytics.engagement.weighing import scale
from crm_events.analytics import BandCause
from crm_events.topics import CONTRACT
from heard import BANDED, DAY, LANDMARK, customer, heard, order, refund
from hypothesis import given
from hypothesis import strategies as st

MODEL = read_model(BANDED, CONTRACT)
HALF_LIFE = 30 * DAY
CLOSE = 1e-6
MOMENT = timedelta(milliseconds=50)


def sums_of(positive=0.0, negative=0.0):
    return Sums(
        s=math.log(positive) if positive else None,
        s_negative=math.log(negative) if negative else None,
    )


def test_a_score_falls_out_of_its_band_when_it_reaches_the_threshold():
    found = band_at(MODEL, sums_of(40), LANDMARK)

    assert found == InBand("hot", LANDMARK + HALF_LIFE)
    assert band_at(MODEL, sums_of(40), found.until) == InBand("warm", LANDMARK + 3 * HALF_LIFE)
    assert band_at(MODEL, sums_of(40), found.until - timedelta(microseconds=1)).name == "hot"


def test_a_score_above_0_never_leaves_the_band_that_holds_0():
    assert band_at(MODEL, sums_of(1), LANDMARK) == InBand("cold", None)
    assert band_at(MODEL, sums_of(40), LANDMARK + 300 * HALF_LIFE) == InBand("cold", None)


def test_a_score_below_0_rises_out_of_its_band():
    found = band_at(MODEL, sums_of(10, 50), LANDMARK)

    assert found == InBand("angry", LANDMARK + 2 * HALF_LIFE)
    assert band_at(MODEL, sums_of(10, 50), found.until) == InBand("cold", None)


def test_the_end_of_a_band_is_that_of_the_difference_of_both_sums():
    found = band_at(MODEL, sums_of(90, 50), LANDMARK)

    assert found == InBand("hot", LANDMARK + HALF_LIFE)


@pytest.mark.parametrize("sums", [NOTHING, sums_of(7, 7)], ids=["nothing", "equal"])
def test_a_score_of_0_rests(sums):
    assert band_at(MODEL, sums, LANDMARK) == InBand(resting(MODEL), None)
    assert resting(MODEL) == "cold"


def test_an_end_that_no_calendar_has_is_none():
    slow = read_model(json.dumps({**json.loads(BANDED), "half_life_days": 36_500}), CONTRACT)

    assert band_at(slow, Sums(s=500.0), LANDMARK) == InBand("hot", None)
    assert band_at(slow, Sums(s=-500.0), LANDMARK) == InBand("cold", None)


def test_two_crossings_that_nobody_looked_at_are_told_one_by_one():
    sums = sums_of(40)
    left = band_at(MODEL, sums, LANDMARK).until

    changes, present = changes_of(MODEL, "hot", sums, left_at=left, now=LANDMARK + 365 * DAY)

    assert [(one.was, one.band, one.at) for one in changes] == [
        ("hot", "warm", LANDMARK + HALF_LIFE),
        ("warm", "cold", LANDMARK + 3 * HALF_LIFE),
    ]
    assert {one.cause for one in changes} == {BandCause.TIME}
    assert present == InBand("cold", None)


def test_a_fact_that_comes_late_tells_what_is_true_now():
    now = LANDMARK + 2 * HALF_LIFE

    changes, _ = changes_of(MODEL, "cold", sums_of(81), left_at=None, now=now)

    assert [(one.was, one.band, one.at, one.cause) for one in changes] == [
        ("cold", "hot", now, BandCause.FACT)
    ]


FACTS = st.lists(
    st.tuples(
        st.integers(0, 200 * 24),  # the hour at which it happened
        st.booleans(),  # for or against
        st.integers(0, 60 * 24),  # so many hours later it was heard
    ),
    min_size=1,
    max_size=25,
)
LOOKS = st.lists(st.integers(1, 500 * 24), min_size=1, max_size=25, unique=True)


def value_of(facts, at):
    """The score as the sum of what each fact is worth at an instant."""
    return math.fsum(
        (15.0 if against else -20.0) * -(2.0 ** -((at - happened) / HALF_LIFE))
        for happened, against in facts
    )


def bands_near(value):
    """The bands that a value may be told in: two where it lies on a threshold."""
    names = [band.name for band in MODEL.bands]
    floors = [-math.inf, *(band.at_least for band in MODEL.bands[1:])]
    sure = max(n for n, floor in enumerate(floors) if value >= floor)
    close = {n for n, floor in enumerate(floors) if abs(value - floor) <= CLOSE}
    return {names[sure], *(names[n] for n in close), *(names[n - 1] for n in close)}


@given(FACTS, LOOKS)
def test_facts_in_any_order_and_any_clock_tell_the_bands_of_the_values(facts, looks):
    hours = timedelta(hours=1)
    waiting = sorted(
        (happened + delay, happened, against, n)
        for n, (happened, against, delay) in enumerate(facts)
    )
    weigh = scale(MODEL)
    told, sums, known, left_at = resting(MODEL), NOTHING, [], None
    for look in sorted(looks):
        now = LANDMARK + look * hours
        arrived = [one for one in waiting if one[0] <= look]
        waiting = waiting[len(arrived) :]
        for heard_at, happened, against, number in arrived:
            at = LANDMARK + happened * hours
            event = refund() if against else order()
            fact = heard(event, at, number=number, recorded_at=LANDMARK + heard_at * hours)
            batch = weigh_all([fact], weigh)
            apply_caps(batch, {})
            sums = add_up(sums, batch.tallies[customer(1)])
            known.append((at, against))
        if not arrived and (left_at is None or left_at > now):
            assert told in bands_near(value_of(known, now))
            continue

        changes, present = changes_of(
            MODEL, told, sums, left_at=None if arrived else left_at, now=now
        )

        assert present.name in bands_near(value_of(known, now))
        assert [one.was for one in changes] == [told, *(one.band for one in changes)][:-1]
        for one in changes:
            assert one.was != one.band
            if one.cause is BandCause.TIME:
                assert one.was in bands_near(value_of(known, one.at - MOMENT))
                assert one.band in bands_near(value_of(known, one.at + MOMENT))
        assert [one.at for one in changes] == sorted({one.at for one in changes})
        told, left_at = (changes[-1].band if changes else told), present.until
        assert told == present.name
    assert left_at is None or left_at > LANDMARK


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        ([{"name": "a", "at_least": 1}], "lowest has no at_least"),
        ([{"name": "a"}, {"name": "b"}], "only the lowest"),
        ([{"name": "a"}, {"name": "a", "at_least": 1}], "one name"),
        ([{"name": "a"}, {"name": "b", "at_least": 2}, {"name": "c", "at_least": 2}], "above"),
        ([{"name": "a"}, {"name": "b", "at_least": "NaN"}], "at_least"),
        ([{"name": "A"}], "name"),
    ],
)
def test_bands_that_cannot_be_told_apart_are_refused(bands, said):
    with pytest.raises(ModelError, match=said):
        read_model(json.dumps({**json.loads(BANDED), "bands": bands}), CONTRACT)


def test_the_default_model_has_bands():
    model = load_model(None, CONTRACT)

    assert [band.name for band in model.bands] == ["cold", "warm", "hot"]
    assert band_at(model, sums_of(40), datetime(2025, 1, 1, tzinfo=UTC)).name == "hot"
