"""The judge finds what is wrong in logs, topics, copies and sums, and when a run is not clean."""

from __future__ import annotations

import json
import time
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
from tests.fault.models import (
    Expected,
    Scores,
    compare_people,
    compare_timeline,
    kept_aside,
    unseen,
)
from tests.fault.rounds import schedule
from tests.fault.timeline import Timeline
from tests.fault.verdict import Holding, Round, Verdict

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


def test_a_place_that_was_not_heard_to_its_end_is_stuck():
    published = Published()
    published.events[PLACE] = [ONE, TWO]
    copies = Copies("a log")
    there, behind = Counts(), Counts()
    copies.take(PLACE, 1, ONE, published, behind)

    copies.stuck(published, behind)
    copies.take(PLACE, 2, TWO, published, there)
    copies.stuck(published, there)

    assert behind.stuck == 1
    assert "contacts.purchases/3" in behind.examples[0]
    assert there.clean


@pytest.mark.parametrize(
    ("behind", "count"), [({"contacts": 0, "analytics": 7}, 7), ({"contacts": 0}, 1)]
)
def test_what_was_not_folded_in_time_is_unseen_and_so_is_whatever_else_was_late(behind, count):
    counts = Counts()

    unseen(behind, counts)

    assert counts.unseen == count
    assert not counts.clean


@pytest.mark.parametrize(("kept", "wrong"), [((1, 1), 0), ((1, 2), 1), ((1, 0), 1)])
def test_records_kept_aside_are_those_that_a_fault_sent(kept, wrong):
    counts = Counts()

    kept_aside(kept, 2, counts)

    assert counts.quarantined == wrong
    assert counts.clean == (not wrong)


MODEL = {
    "landmark": "2026-09-01T00:00:00+00:00",
    "half_life_days": 30,
    "kinds": [
        {"name": "purchase", "weight": 20},
        {"name": "page", "weight": 1},
        {"name": "identify", "weight": 1},
    ],
}
BOUGHT = fold.Bought(1, Decimal("1.10"), 0, Decimal(0))
STRANGER = UUID(int=99)


def of_two() -> Expected:
    """A customer who bought and told their plan, and the visitor who they had been."""
    load, bearers = Load(SEED, AT, "", ""), Bearers()
    load.accepted["c1"] = [
        Sent("c1", 1, "purchase", AT, Decimal("1.10")),
        Sent("c1", 2, "identify", AT),
    ]
    load.accepted["c1v1"] = [Sent("c1v1", 1, "page", AT)]
    load.links = {("c1v1", "c1")}
    bearers.customer = {"c1": CUSTOMER, "c1v1": OTHER}
    return Expected(load, bearers, Scores(MODEL).of(load, bearers))


LOG_21, LOG_22 = 3.044522437723423, 3.091042453358316
SUMS = {CUSTOMER: (LOG_21, None, 2), OTHER: (0.0, None, 1)}
STANDS = {CUSTOMER: (LOG_22, 2)}
PLANS = {CUSTOMER: "plan 2", OTHER: None}
RIGHT = {
    "compare_plans": (PLANS,),
    "compare_links": ({OTHER: CUSTOMER}, "links"),
    "compare_buying": ({CUSTOMER: BOUGHT},),
    "compare_sums": (SUMS, "engagement"),
    "compare_standings": (STANDS,),
}


@pytest.mark.parametrize("compared", RIGHT)
def test_projections_that_hold_what_was_acknowledged_are_clean(compared):
    counts = Counts()

    getattr(of_two(), compared)(*RIGHT[compared], counts)

    assert counts.clean, counts.examples


@pytest.mark.parametrize(
    ("compared", "rows"),
    [
        ("compare_plans", {OTHER: None}),
        ("compare_plans", {**PLANS, CUSTOMER: "plan 1"}),
        ("compare_plans", {**PLANS, OTHER: "plan 2"}),
        ("compare_links", {}),
        ("compare_links", {OTHER: CUSTOMER, STRANGER: CUSTOMER}),
        ("compare_buying", {}),
        ("compare_buying", {CUSTOMER: replace(BOUGHT, orders=2)}),
        ("compare_buying", {CUSTOMER: BOUGHT, OTHER: BOUGHT}),
        ("compare_buying", {CUSTOMER: BOUGHT, STRANGER: BOUGHT}),
        ("compare_sums", {CUSTOMER: SUMS[CUSTOMER]}),
        ("compare_sums", {**SUMS, CUSTOMER: (LOG_21 + 1e-6, None, 2)}),
        ("compare_sums", {**SUMS, CUSTOMER: (LOG_21, None, 3)}),
        ("compare_sums", {**SUMS, STRANGER: (0.0, None, 1)}),
        ("compare_standings", {}),
        ("compare_standings", {CUSTOMER: (LOG_21, 1)}),
        ("compare_standings", {**STANDS, OTHER: (0.0, 1)}),
        ("compare_standings", {**STANDS, STRANGER: (0.0, 1)}),
    ],
)
def test_what_is_wrong_in_a_projection_is_found(compared, rows):
    counts = Counts()

    getattr(of_two(), compared)(rows, *RIGHT[compared][1:], counts)

    assert counts.wrong_rows >= 1
    assert counts.examples


@pytest.mark.parametrize(
    ("told", "wrong"), [((3, 3, 0), 0), ((3, 2, 1), 1), ((3, 4, 0), 1), ((3, 3, 1), 2)]
)
def test_a_timeline_has_an_entry_for_each_event_and_no_other(told, wrong):
    counts = Counts()

    compare_timeline(*told, counts)

    assert counts.wrong_rows == wrong


@pytest.mark.parametrize(("people", "wrong"), [(3, 0), (2, 1), (4, 1)])
def test_a_directory_has_a_row_for_each_person(people, wrong):
    counts = Counts()

    compare_people(3, people, counts)

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

    holds = Round(4, "relay.kill", 0.0, level_s=1.0, holding=Holding(at_end=1))

    assert Verdict(1, {}, rounds=[good]).clean
    assert not Verdict(1, {}, rounds=[good, late]).clean
    assert not Verdict(1, {}, rounds=[good, broken]).clean
    assert not Verdict(1, {}, rounds=[good, holds]).clean
    assert holds.wrong == ["1 partitions hold at the end"]
    assert not Verdict(1, {}).clean, "nothing was shown"


def test_a_run_that_was_broken_off_or_misses_a_bar_is_not_clean():
    good = [Round(1, "relay.kill", 0.0, level_s=1.0)]

    assert Verdict(1, {}, planned=1, rounds=good).clean
    assert not Verdict(1, {}, planned=2, rounds=good).clean
    assert Verdict(1, {}, rounds=good, rolling_pauses_s=[0.8, 2.9]).clean
    assert not Verdict(1, {}, rounds=good, rolling_pauses_s=[0.8, 3.1]).clean
    assert not Verdict(1, {}, rounds=good, grown_bytes={"Kafka away, relay": 64_000_000}).clean
    assert Verdict(1, {}, rounds=good * 100, seconds=2_399).clean
    assert not Verdict(1, {}, rounds=good * 100, seconds=2_401).clean


def test_what_holds_is_counted_at_most_and_for_how_long():
    holding = Holding()

    for count in (0, 1, 3, 0):
        holding.note(count, 0.5)

    assert (holding.most, holding.seconds) == (3, 1.0)


def test_the_timeline_of_a_round_begins_with_it_and_stands_in_the_verdict(tmp_path):
    began, timeline = time.monotonic(), Timeline()
    timeline.note("the round before")
    this = Round(1, "relay.kill", 0.0, timeline=timeline.begin())
    timeline.note("relay killed")
    timeline.note("relay begun")

    Verdict(1, {}, rounds=[this]).write(tmp_path / "verdict.json")

    [told] = json.loads((tmp_path / "verdict.json").read_text())["rounds"]
    assert [what for _, what in told["timeline"]] == ["relay killed", "relay begun"]
    first, second = (at for at, _ in told["timeline"])
    assert 0 <= first <= second <= time.monotonic() - began + 0.01  # rounded


def test_what_comes_once_at_most_comes_again_where_nothing_else_was_chosen():
    often, once = FAULTS[0], replace(FAULTS[1], weight=0)

    assert schedule([once], 5, 1) == [once] * 5
    assert schedule([once, often], 5, 1).count(once) == 1


def test_the_same_seed_gives_the_same_order_and_each_fault_once_before_any_comes_again():
    order = schedule(FAULTS, 2 * len(FAULTS), 42)

    assert order == schedule(FAULTS, 2 * len(FAULTS), 42)
    assert set(order[: len(FAULTS)]) == set(FAULTS)
    assert order != schedule(FAULTS, 2 * len(FAULTS), 43)
