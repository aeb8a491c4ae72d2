"""What is counted as wrong, and how logs and copies of them are looked at: pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tests.fault.fold import TYPES

if TYPE_CHECKING:
    from tests.fault.load import Load

Place = tuple[str, int]  # topic, partition
Key = tuple[str, str | None, str | None, datetime | None]  # id, wrapped by, wrapped, destroyed
EXAMPLES: Final = 5
START: Final = (0, 0, 0)


@dataclass
class Counts:
    """What is wrong; all must be 0. `examples` are the first few, in words."""

    lost: int = 0
    doubled: int = 0
    misordered: int = 0
    unseen: int = 0
    stuck: int = 0  # topic partitions that were not heard to their end
    quarantined: int = 0  # beyond those that a fault sent
    wrong_rows: int = 0  # of projections
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not any(value for name, value in asdict(self).items() if name != "examples")

    def found(self, what: str, count: int, example: str) -> None:
        if count:
            setattr(self, what, getattr(self, what) + count)
            if len(self.examples) < EXAMPLES:
                self.examples.append(f"{what}: {example}")


@dataclass
class Published:
    """One service's own rows, as they stand in its log: what all others must have."""

    position: tuple[int, int, int] = START
    events: dict[Place, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    known: set[UUID] = field(default_factory=set)


@dataclass
class Bearers:
    """What a log has of each bearer's messages."""

    last: Counter[tuple[str, str]] = field(default_factory=Counter)  # by bearer and topic
    seen: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    customer: dict[str, UUID] = field(default_factory=dict)
    recorded_at: dict[tuple[str, int], datetime] = field(default_factory=dict)
    event_ids: dict[tuple[str, int], UUID] = field(default_factory=dict)

    def take(self, row: Any, counts: Counts) -> None:
        """A row that bears a message id, in log order."""
        _, bearer, digits = str(row["message_id"]).rsplit("-", 2)
        number = int(digits)
        if number in self.seen[bearer]:
            counts.found("doubled", 1, f"{bearer}-{number} in the publisher's log")
            return
        self.seen[bearer].add(number)
        self.recorded_at[bearer, number] = row["recorded_at"]
        self.event_ids[bearer, number] = row["event_id"]
        # Order is promised within a topic: a log that was made whole from Kafka has it there.
        place = (bearer, str(row["topic"]))
        if number < self.last[place]:
            counts.found("misordered", 1, f"{bearer}-{number} behind {self.last[place]}")
        self.last[place] = max(self.last[place], number)
        if self.customer.setdefault(bearer, row["partition_key"]) != row["partition_key"]:
            counts.found("wrong_rows", 1, f"{bearer} is two customers")


class Copies:
    """A copy of published events, in a topic or in another's log: by number, each once."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.taken: Counter[Place] = Counter()

    def take(
        self, place: Place, sequence: int, event_id: UUID, published: Published, counts: Counts
    ) -> None:
        """One event of the copy, in its order there."""
        events, expected = published.events[place], self.taken[place] + 1
        named = f"{place[0]}/{place[1]} number {sequence} in {self.where}"
        if sequence < expected:
            counts.found("doubled", 1, named)
            return
        if sequence > expected:
            counts.found("misordered", 1, f"{named}, {expected} was to come")
        self.taken[place] = sequence
        if sequence > len(events):
            counts.found("doubled", 1, f"{named}: its publisher has {len(events)}")
        elif events[sequence - 1] != event_id:
            counts.found("misordered", 1, f"{named} is another event")

    def take_or_drop(
        self, place: Place, sequence: int, event_id: UUID, published: Published, counts: Counts
    ) -> None:
        """As a reader does: a repeat is dropped, and what lies behind a gap is held.

        What never comes in its turn is missing at the end. A repeat is the event that it was.
        """
        taken = self.taken[place]
        if sequence == taken + 1:
            self.take(place, sequence, event_id, published, counts)
        elif sequence <= taken and published.events[place][sequence - 1] != event_id:
            named = f"{place[0]}/{place[1]} number {sequence} in {self.where}"
            counts.found("misordered", 1, f"{named} is another event when it comes again")

    def missing(self, published: Published, counts: Counts) -> None:
        """What was published and is not here."""
        for place, events in published.events.items():
            gone = len(events) - self.taken[place]
            counts.found("lost", max(0, gone), f"{place[0]}/{place[1]}: {gone} not in {self.where}")

    def stuck(self, published: Published, counts: Counts) -> None:
        """Count the places that were not taken to their end."""
        for place, events in published.events.items():
            behind = self.taken[place] < len(events)
            counts.found("stuck", int(behind), f"{place[0]}/{place[1]} in {self.where}")


def lost(load: Load, bearers: Bearers, counts: Counts) -> None:
    """What was acknowledged and is not in the publisher's log; what is there and was never sent."""
    for bearer, facts in load.accepted.items():
        gone = {fact.number for fact in facts} - bearers.seen[bearer]
        counts.found("lost", len(gone), f"{bearer}: {sorted(gone)[:3]} in contacts' log")
        strangers = bearers.seen[bearer] - {fact.number for fact in facts}
        counts.found("doubled", len(strangers), f"{bearer}: {sorted(strangers)[:3]} never answered")
    assert set(TYPES) >= {fact.kind for facts in load.accepted.values() for fact in facts[:1]}


def compare_keys(own: set[Key], copied: set[Key], counts: Counts) -> None:
    """A copy of the keystore has each key as it is: destroyed where it is destroyed."""
    wrong = own ^ copied
    said = f"{len(own - copied)} of {len(own)} keys are not copied, {len(copied - own)} others are"
    counts.found("wrong_rows", len(wrong), said)
