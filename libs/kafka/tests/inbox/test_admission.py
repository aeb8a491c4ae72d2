"""Admission: any interleaving of duplicates, resends and gaps takes each number once, in order."""

from __future__ import annotations

from crm_kafka.inbox.admission import NOTHING_TAKEN, Mark, admit
from hypothesis import given
from hypothesis import strategies as st
from wire import Number


def numbered(*numbers: int | None, branch: str = "") -> list[Number]:
    return [
        Number(offset, number, None if number is None else f"{branch}{number}")
        for offset, number in enumerate(numbers)
    ]


def test_the_number_after_the_mark_is_taken() -> None:
    admission = admit(NOTHING_TAKEN, numbered(1, 2, 3))

    assert admission.taken == [0, 1, 2]
    assert admission.mark == Mark(3, "3", 2)


def test_a_number_at_or_below_the_mark_is_a_duplicate() -> None:
    admission = admit(Mark(2, "2", 7), numbered(1, 2, 3, 2, 3))

    assert (admission.taken, admission.duplicates) == ([2], 4)


def test_a_number_above_the_next_is_held() -> None:
    admission = admit(NOTHING_TAKEN, numbered(1, 3, 4))

    assert (admission.taken, admission.held, admission.waits_from) == ([0], 2, 1)
    assert (admission.held_from, admission.held_to) == (1, 4)


def test_what_was_held_is_taken_when_it_comes_again_behind_the_missing_number() -> None:
    admission = admit(NOTHING_TAKEN, numbered(1, 3, 4, 2, 3, 4, 5))

    assert admission.taken == [0, 3, 4, 5, 6]
    assert admission.waits_from is None
    assert admission.held_from is None


def test_numbers_that_lie_before_the_missing_one_are_remembered() -> None:
    admission = admit(NOTHING_TAKEN, numbered(1, 3, 4, 2))

    assert admission.taken == [0, 3]
    assert admission.passed
    assert (admission.held_from, admission.held_to) == (1, 4)


def test_a_record_without_a_number_holds_until_the_next_number_came() -> None:
    holding = admit(Mark(2, "2", 1), numbered(None))
    settled = admit(Mark(2, "2", 1), numbered(None, 3))

    assert (holding.waits_from, holding.unreadable, holding.taken) == (0, 1, [])
    assert (settled.waits_from, settled.taken) == (None, [1])


def test_the_marks_number_with_another_event_stops_the_partition() -> None:
    records = [*numbered(1, 2), Number(2, 2, "other"), Number(3, 3, "3")]

    admission = admit(NOTHING_TAKEN, records)

    assert admission.diverged
    assert admission.taken == [0, 1]


@given(
    last=st.integers(0, 12),
    noise=st.lists(st.integers(1, 12), max_size=30),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    data=st.data(),
)
def test_any_interleaving_takes_each_number_once_and_in_order(
    last: int, noise: list[int], cuts: list[int], data: st.DataObject
) -> None:
    # All numbers stand there in order somewhere; between them anything was sent again or early.
    numbers = [n for n in noise if n <= last]
    for number in range(1, last + 1):
        first = numbers.index(number - 1) + 1 if number > 1 else 0
        numbers.insert(data.draw(st.integers(first, len(numbers))), number)
    records = numbered(*numbers)
    mark, taken = NOTHING_TAKEN, []

    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(records)], strict=True):
        admission = admit(mark, records[start:end])
        taken += [records[start:end][index].sequence for index in admission.taken]
        mark = admission.mark

    in_order = [n for n in taken if n is not None]
    assert in_order == list(range(1, len(in_order) + 1))
    assert mark.sequence == len(in_order)
    assert not any(n == mark.sequence + 1 for n in numbers[(mark.offset + 1) :])


@given(numbers=st.lists(st.one_of(st.none(), st.integers(1, 8)), max_size=40))
def test_every_record_has_exactly_one_outcome(numbers: list[int | None]) -> None:
    admission = admit(NOTHING_TAKEN, numbered(*numbers))

    outcomes = len(admission.taken) + admission.duplicates + admission.held + admission.unreadable
    assert outcomes == len(numbers)
