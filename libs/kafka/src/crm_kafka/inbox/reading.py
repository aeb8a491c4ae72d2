"""Where the reading of one topic partition stands, and what its next records change; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from crm_kafka.inbox.admission import Admission, Mark, Numbered, admit

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGINNING: Final = -2
"""Seek to the first record that is there."""

LOOK_AGAIN_EVERY_S: Final = 30.0
"""While holding: is the record at the mark's offset still the mark's event?"""


class Phase(Enum):
    CHECKING = "checking"  # the next record must be the mark's event
    READING = "reading"
    STOPPED = "stopped"  # its publisher went another way, or its records cannot be unpacked


@dataclass(frozen=True, slots=True)
class Holding:
    """A partition that waits for a number, since a monotonic instant in seconds."""

    missing: int
    since: float
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What records changed: which of them are taken, and where to read on (None: go on)."""

    taken: Sequence[int] = ()
    seek: int | None = None
    admission: Admission | None = None


@dataclass(slots=True)
class Reading:
    """One partition as this member reads it. `next_offset` is where its next poll begins."""

    mark: Mark
    next_offset: int
    phase: Phase = Phase.READING
    resume_at: int | None = None  # where to go on when the mark's event was found in its place
    read_again_for: int | None = None  # the missing number that was looked for from the mark on
    looked_at: float = 0.0
    mark_is_there: bool = True  # its record was seen, or never missed
    held_from: int | None = None
    held_to: int = 0
    holding: Holding | None = None

    @classmethod
    def begin(cls, mark: Mark, *, first: int, end: int) -> tuple[Reading, int]:
        """A reading of a partition that has the offsets `first` to `end` - 1; where to seek."""
        if first <= mark.offset < end:
            return cls(mark, mark.offset, Phase.CHECKING), mark.offset
        return cls(mark, first, mark_is_there=False), BEGINNING

    def advance(self, records: Sequence[Numbered], *, now: float) -> Step:
        """Decide about consecutive polled records, at least one; moves the mark in memory."""
        self.next_offset = records[-1].offset + 1
        if self.phase is Phase.CHECKING:
            self.phase = Phase.READING
            if not self._is_mark(records[0]):
                return Step((), self.from_beginning())
            if self.resume_at is not None:
                resume_at, self.resume_at = self.resume_at, None
                return Step((), self._seek(resume_at))
        admission = admit(self.mark, records)
        self.mark = admission.mark
        if admission.taken:
            self.holding, self.mark_is_there = None, True
        return Step(admission.taken, self._read_on(admission, now), admission)

    def look_again(self, *, now: float) -> int | None:
        """Is the record at the mark's offset still the mark's event? Then go on as before."""
        self.looked_at = now
        if not self.mark_is_there:
            return None
        self.resume_at = self.next_offset
        return self._to_mark()

    def from_beginning(self) -> int:
        """What to do when the place to read from is not there: only what is there counts."""
        self.phase, self.resume_at, self.mark_is_there = Phase.READING, None, False
        self._forget()
        return BEGINNING

    def is_due_to_look_again(self, now: float) -> bool:
        return (
            self.phase is Phase.READING
            and self.holding is not None
            and now - self.looked_at >= LOOK_AGAIN_EVERY_S
        )

    def _read_on(self, admission: Admission, now: float) -> int | None:
        """Where to read on; begins to hold where nothing else is left."""
        if admission.diverged:
            self.phase, self.holding = Phase.STOPPED, None
            return None
        look_back = self._remember(admission)
        if look_back is not None:
            self._forget()
            return self._seek(look_back)
        if admission.waits_from is None:
            return None
        missing = self.mark.sequence + 1
        if self.read_again_for != missing and admission.waits_from > self.mark.offset:
            # Records may have been skipped: the topic may be another one than it was, or the
            # client lost a poll. Once for each missing number they are read from the mark on.
            self.read_again_for, self.looked_at = missing, now
            return self._to_mark()
        if self.holding is None:
            self.holding = Holding(missing, now)
        return None

    def _is_mark(self, record: Numbered) -> bool:
        return (record.offset, record.sequence, record.event_id) == (
            self.mark.offset,
            self.mark.sequence,
            self.mark.event_id,
        )

    def _remember(self, admission: Admission) -> int | None:
        """Keep what waits. Answers where it begins when numbers after the mark lie behind us."""
        passed = admission.passed or (bool(admission.taken) and self.held_from is not None)
        if self.held_from is None:
            self.held_from = admission.held_from
        self.held_to = max(self.held_to, admission.held_to)
        if self.held_to <= self.mark.sequence:
            self._forget()
        return self.held_from if passed else None

    def _forget(self) -> None:
        self.held_from, self.held_to = None, 0

    def _to_mark(self) -> int:
        if not self.mark_is_there:
            return self.from_beginning()
        self.phase = Phase.CHECKING
        return self._seek(self.mark.offset)

    def _seek(self, offset: int) -> int:
        self.next_offset = offset
        return offset
