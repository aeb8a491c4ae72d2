"""The judge finds what is wrong in logs, topics, copies and sums, and when a run is not clean."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from tests.fault import fold
from tests.fault.copies import Bearers, Copies, Counts, Published, compare_keys, lost
from tests.fault.faults.processes import FAULTS
from tests.fault.fold import Scored
from tests.fault.load import Load, Sent
from tests.fault.rounds import schedule
from tests.fault.verdict import Round, Verdict

AT = datetime(2026, 9, 1, tzinfo=UTC)
PLACE = ("contacts.purchases", 3)
SEED = 7
ONE, TWO, THREE = (UUID(int=n) for n in (1, 2, 3))
CUSTOMER, OTHER = UUID(int=10), UUID(int=11)


def row(number: int, event_id: UUID, customer: UUID = CUSTOMER) -> dict[str, object]:
    return {
        "message_id": f"{SEED}-c1-{number}",
        "topic": PLACE[0],
        "event_id": event_id,
        "recorded_at": AT,
        "partition_key": customer,
    }


def log_of(*rows: dict[str, object]) -> Counts:
    """What the judge says of a publisher's log that has these rows, where 1 and 2 were sent."""
    counts, bearers = Counts(), Bearers()
    for each in rows:
        bearers.take(each, counts)
    load = Load(SEED, AT, "", "")
    load.accepted = defaultdict(list)
    load.accepted["c1"] = [Sent("c1", n, "purchase", AT) for n in (1, 2)]
    lost(load, bearers, counts)
    return counts


def copy_of(*taken: tuple[int, UUID]) -> Counts:
    """What the judge says of a copy of three events that has these."""
    counts, published = Counts(), Published()
    published.events[PLACE] = [ONE, TWO, THREE]
    copies = Copies("a log")
    for sequence, event_id in taken:
        copies.take(PLACE, sequence, event_id, published, counts)
    copies.missing(published, counts)
    return counts


def test_a_log_with_each_message_once_in_order_is_clean():
    assert log_of(row(1, ONE), row(2, TWO)).clean


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([row(1, ONE)], "lost"),
        ([row(1, ONE), row(2, TWO), row(2, THREE)], "doubled"),
        ([row(2, TWO), row(1, ONE)], "misordered"),
        ([row(1, ONE), row(2, TWO, OTHER)], "wrong_rows"),
        ([row(1, ONE), row(2, TWO), row(3, THREE)], "doubled"),
    ],
)
def test_what_is_wrong_in_a_publishers_log_is_found(rows, what):
    counts = log_of(*rows)

    assert getattr(counts, what) == 1
    assert counts.examples
    assert not counts.clean


def test_a_copy_with_every_number_once_is_clean():
    assert copy_of((1, ONE), (2, TWO), (3, THREE)).clean


@pytest.mark.parametrize(
    ("taken", "what"),
    [
        ([(1, ONE), (2, TWO)], "lost"),
        ([(1, ONE), (2, TWO), (2, TWO), (3, THREE)], "doubled"),
        ([(1, ONE), (3, THREE)], "misordered"),
        ([(1, ONE), (2, THREE), (3, THREE)], "misordered"),
        ([(1, ONE), (2, TWO), (3, THREE), (4, ONE)], "doubled"),
    ],
)
def test_what_is_wrong_in_a_copy_is_found(taken, what):
    counts = copy_of(*taken)

    assert getattr(counts, what) == 1
    assert not counts.clean


@pytest.mark.parametrize(("again", "wrong"), [(ONE, 0), (TWO, 1)])
def test_a_repeat_in_a_topic_is_dropped_where_it_is_the_event_that_it_was(again, wrong):
    counts, published = Counts(), Published()
    published.events[PLACE] = [ONE, TWO, THREE]
    topic = Copies("Kafka")
    for sequence, event_id in [(1, ONE), (2, TWO), (1, again), (3, THREE)]:
        topic.take_or_drop(PLACE, sequence, event_id, published, counts)
    topic.missing(published, counts)

    assert counts.misordered == wrong
    assert counts.lost == 0


@pytest.mark.parametrize(
    ("copied", "wrong"),
    [
        ({("1", "kek", "w", None), ("2", None, None, AT)}, 0),
        ({("1", "kek", "w", None)}, 1),
        ({("1", "kek", "w", None), ("2", "kek", "w", None)}, 2),
        ({("1", "kek", "w", None), ("2", None, None, AT), ("3", "kek", "w", None)}, 1),
    ],
)
def test_a_key_that_is_not_copied_as_it_is_is_found(copied, wrong):
    counts = Counts()

    compare_keys({("1", "kek", "w", None), ("2", None, None, AT)}, copied, counts)

    assert counts.wrong_rows == wrong


def test_sums_are_compared_to_the_ninth_digit():
    right = Scored(s=12.5, s_negative=None, counted=3)

    assert right.agrees(12.5 * (1 + 1e-12), None, 3)
    assert not right.agrees(12.5 * (1 + 1e-7), None, 3)
    assert not right.agrees(12.5, None, 4)
    assert not right.agrees(12.5, 1.0, 3)


def test_the_fold_adds_up_money_and_takes_the_first_under_a_cap():
    model = {
        "landmark": "2026-09-01T00:00:00+00:00",
        "half_life_days": 30,
        "kinds": [
            {"name": "purchase", "weight": 20},
            {"name": "page", "weight": 0.5, "cap_per_day": 1},
        ],
    }
    facts = [
        Sent("c1", 1, "purchase", AT, Decimal("1.10")),
        Sent("c1", 2, "page", AT + timedelta(hours=2)),
        Sent("c1", 3, "page", AT + timedelta(hours=1)),
    ]

    found = fold.scored(facts, model, lambda fact: fact.at)

    assert fold.bought(facts) == fold.Bought(1, Decimal("1.10"), 0, Decimal(0))
    assert found.counted == 2, "one page of the day"
    assert found.agrees(3.0206, None, 2) is False
    assert abs(found.s - 3.02043) < 1e-3


def test_a_round_that_is_not_level_or_broke_a_promise_is_not_clean():
    good = Round(1, "relay.kill", 0.0, level_s=1.0)
    late = Round(2, "relay.kill", 0.0, level_s=None)
    broken = Round(3, "relay.kill", 0.0, level_s=1.0, broken="it answered 500")

    assert Verdict(1, {}, rounds=[good]).clean
    assert not Verdict(1, {}, rounds=[good, late]).clean
    assert not Verdict(1, {}, rounds=[good, broken]).clean
    assert not Verdict(1, {}).clean, "nothing was shown"


def test_a_run_that_was_broken_off_or_misses_a_bar_is_not_clean():
    good = [Round(1, "relay.kill", 0.0, level_s=1.0)]

    assert Verdict(1, {}, planned=1, rounds=good).clean
    assert not Verdict(1, {}, planned=2, rounds=good).clean
    assert Verdict(1, {}, rounds=good, rolling_pauses_s=[0.8, 2.9]).clean
    assert not Verdict(1, {}, rounds=good, rolling_pauses_s=[0.8, 3.1]).clean
    assert not Verdict(1, {}, rounds=good, grown_bytes=64_000_000).clean
    assert Verdict(1, {}, rounds=good * 100, seconds=2_399).clean
    assert not Verdict(1, {}, rounds=good * 100, seconds=2_401).clean


def test_what_comes_once_at_most_comes_again_where_nothing_else_was_chosen():
    often, once = FAULTS[0], replace(FAULTS[1], weight=0)

    assert schedule([once], 5, 1) == [once] * 5
    assert schedule([once, often], 5, 1).count(once) == 1


def test_the_same_seed_gives_the_same_order_and_each_fault_once_before_any_comes_again():
    order = schedule(FAULTS, 2 * len(FAULTS), 42)

    assert order == schedule(FAULTS, 2 * len(FAULTS), 42)
    assert set(order[: len(FAULTS)]) == set(FAULTS)
    assert order != schedule(FAULTS, 2 * len(FAULTS), 43)
