"""Which records of one topic partition are taken, decided by their numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Mark:
    """The last record taken from a partition; number 0 at offset -1 where none was.

    What lies below the offset `history_until` was there before this service first heard it.
    """

    sequence: int
    event_id: str | None
    offset: int
    history_until: int = 0


NOTHING_TAKEN = Mark(sequence=0, event_id=None, offset=-1)


class Numbered(Protocol):
    """What admission needs to know of a record. `sequence` is None where it cannot be read."""

    @property
    def offset(self) -> int: ...
    @property
    def sequence(self) -> int | None: ...
    @property
    def event_id(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Admission:
    """What becomes of some consecutive records of a partition.

    `taken` are their indexes, in order. `waits_from` is the offset of the first record behind the
    last one taken that waits for a number that did not come, `mark.sequence + 1`; None where none
    waits. `held_from` is the offset of the first record seen that is above the mark, `held_to`
    the highest such number (0: none). `passed` is whether one was taken that lay behind a record
    above it.
    """

    mark: Mark
    taken: list[int]
    duplicates: int
    held: int
    unreadable: int
    waits_from: int | None
    held_from: int | None
    held_to: int
    passed: bool
    diverged: bool


def admit(mark: Mark, records: Iterable[Numbered]) -> Admission:
    """Take exactly mark + 1, and so on; drop what is at or below it; hold what is above.

    An unreadable record may be the one that is missing: it waits until that number came. A record
    with the mark's number and another event id is of a publisher that went another way: nothing
    behind it is looked at.
    """
    sequence, event_id, offset = mark.sequence, mark.event_id, mark.offset
    taken: list[int] = []
    duplicates = held = unreadable = held_to = 0
    held_from: int | None = None
    waits_from: int | None = None
    passed = diverged = False
    for index, record in enumerate(records):
        number = record.sequence
        if number is None:
            unreadable += 1
            waits_from = record.offset if waits_from is None else waits_from
        elif number == sequence + 1:
            sequence, event_id, offset = number, record.event_id, record.offset
            taken.append(index)
            waits_from, passed = None, passed or held_from is not None
        elif number > sequence:
            held += 1
            waits_from = record.offset if waits_from is None else waits_from
            held_from = record.offset if held_from is None else held_from
            held_to = max(held_to, number)
        elif number == sequence and record.event_id != event_id:
            diverged = True
            break
        else:
            duplicates += 1
    if held_to <= sequence:
        held_from, held_to = None, 0
    return Admission(
        mark=Mark(sequence, event_id, offset, mark.history_until),
        taken=taken,
        duplicates=duplicates,
        held=held,
        unreadable=unreadable,
        waits_from=waits_from,
        held_from=held_from,
        held_to=held_to,
        passed=passed,
        diverged=diverged,
    )
