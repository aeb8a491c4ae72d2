"""Where a partition is read on, for any way its topic may have been sent, cut or made anew."""

from __future__ import annotations

from crm_kafka.inbox.admission import NOTHING_TAKEN, Mark
from crm_kafka.inbox.reading import BEGINNING, LOOK_AGAIN_EVERY_S, Phase, Reading
from hypothesis import given
from hypothesis import strategies as st
from wire import Number

NOW = 100.0


def numbered(numbers: list[int], first: int = 0) -> list[Number]:
    return [Number(first + at, number, str(number)) for at, number in enumerate(numbers)]


def read_all(reading: Reading, log: list[Number], position: int, *, poll: int) -> list[int]:
    """Poll a partition to its end, as the member does; what was taken, in order."""
    taken: list[int] = []
    polls = 0
    while position < len(log):
        records = log[position : position + poll]
        step = reading.advance(records, now=NOW)
        taken += [records[index].sequence or 0 for index in step.taken]
        position += len(records)
        if step.seek is not None:
            position = 0 if step.seek == BEGINNING else step.seek
        polls += 1
        assert polls < 10_000, "reads the same records again and again"
    return taken


def test_a_reading_begins_at_the_marks_record_and_checks_it() -> None:
    reading, offset = Reading.begin(Mark(3, "3", 2), first=0, end=5)

    assert (offset, reading.phase) == (2, Phase.CHECKING)
    assert read_all(reading, numbered([1, 2, 3, 4, 5]), offset, poll=2) == [4, 5]


def test_a_mark_whose_record_was_cut_away_reads_from_the_beginning() -> None:
    _, offset = Reading.begin(Mark(3, "3", 2), first=4, end=9)

    assert offset == BEGINNING


def test_another_record_at_the_marks_offset_reads_from_the_beginning() -> None:
    log = numbered([2, 3, 4, 5, 6])
    reading, offset = Reading.begin(Mark(3, "3", 2), first=0, end=5)

    assert read_all(reading, log, offset, poll=10) == [4, 5, 6]


def test_a_gap_is_read_again_from_the_mark_once_and_then_holds() -> None:
    reading, _ = Reading.begin(NOTHING_TAKEN, first=0, end=3)

    first = reading.advance(numbered([1, 3]), now=NOW)
    again = reading.advance(numbered([1, 3]), now=NOW)

    assert (first.seek, reading.holding is None) == (0, False)
    assert again.seek is None
    assert reading.holding is not None
    assert reading.holding.missing == 2


def test_a_topic_made_anew_and_longer_is_read_from_its_beginning() -> None:
    reading = Reading(Mark(3, "3", 5), next_offset=6)  # behind three duplicates
    log = numbered([1, 2, 3, 4, 5, 6, 7, 8])

    assert read_all(reading, log, 6, poll=3) == [4, 5, 6, 7, 8]


def test_numbers_sent_before_the_missing_one_are_gone_back_for() -> None:
    reading, _ = Reading.begin(NOTHING_TAKEN, first=0, end=9)

    assert read_all(reading, numbered([1, 3, 4, 5, 2]), 0, poll=2) == [1, 2, 3, 4, 5]


def test_a_partition_that_holds_is_looked_at_again_and_goes_on_where_it_was() -> None:
    reading, _ = Reading.begin(NOTHING_TAKEN, first=0, end=9)
    log = numbered([1, 3, 4])
    read_all(reading, log, 0, poll=10)

    due = reading.is_due_to_look_again(NOW + LOOK_AGAIN_EVERY_S)
    offset = reading.look_again(now=NOW + LOOK_AGAIN_EVERY_S)
    step = reading.advance(log[0:2], now=NOW)

    assert (due, offset, step.seek) == (True, 0, 3)


def test_a_partition_whose_mark_was_cut_away_is_not_read_again_and_again() -> None:
    reading, _ = Reading.begin(Mark(3, "3", 2), first=5, end=9)
    read_all(reading, numbered([6, 7], first=5), 0, poll=10)

    assert reading.holding is not None
    assert reading.look_again(now=NOW + LOOK_AGAIN_EVERY_S) is None


@given(
    numbers=st.lists(st.integers(1, 10), max_size=30),
    poll=st.integers(1, 7),
    last=st.integers(1, 10),
)
def test_whatever_the_order_all_numbers_that_are_there_are_taken(
    numbers: list[int], poll: int, last: int
) -> None:
    numbers = [n for n in numbers if n <= last] + list(range(1, last + 1))
    reading, _ = Reading.begin(NOTHING_TAKEN, first=0, end=len(numbers))

    assert read_all(reading, numbered(numbers), 0, poll=poll) == list(range(1, last + 1))


@given(permutation=st.permutations(range(1, 9)), poll=st.integers(1, 5))
def test_numbers_that_were_sent_once_in_any_order_are_all_taken(
    permutation: list[int], poll: int
) -> None:
    reading, _ = Reading.begin(NOTHING_TAKEN, first=0, end=8)

    assert read_all(reading, numbered(permutation), 0, poll=poll) == list(range(1, 9))
