"""How large a statement may be, and how often a process may be thrown out of its group."""

from __future__ import annotations

import pytest
from crm_kafka.inbox.pace import FEWEST, MOST, Pace
from crm_kafka.inbox.reclaims import InstanceTakenError, Reclaims


def test_batches_shrink_while_statements_take_long() -> None:
    pace = Pace()

    for _ in range(30):
        pace.note(pace.records, 0.045)

    assert pace.records == FEWEST


def test_full_batches_grow_while_statements_are_short() -> None:
    pace = Pace()

    for _ in range(30):
        pace.note(pace.records, 0.005)

    assert pace.records == MOST


@pytest.mark.parametrize("seconds", [0.001, 0.045])
def test_a_statement_of_few_records_says_nothing_of_larger_ones(seconds: float) -> None:
    pace = Pace()
    before = pace.records

    pace.note(3, seconds)

    assert pace.records == before


def test_rebalances_under_one_member_id_are_no_reclaims() -> None:
    reclaims = Reclaims("service-0")

    for second in range(100):
        reclaims.note("member-1", now=float(second))

    assert not reclaims._at


def test_five_new_member_ids_in_half_a_minute_are_two_processes_under_one_name() -> None:
    reclaims = Reclaims("service-0")
    for second in range(5):
        reclaims.note(f"member-{second}", now=float(second))

    with pytest.raises(InstanceTakenError, match="service-0"):
        reclaims.note("member-5", now=6.0)


def test_a_process_that_was_frozen_now_and_then_goes_on() -> None:
    reclaims = Reclaims("service-0")

    for freeze in range(50):
        reclaims.note(f"member-{freeze}", now=freeze * 10.0)

    assert len(reclaims._at) == 5
