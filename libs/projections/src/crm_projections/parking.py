"""Parking: a key that cannot be folded waits, with all that comes behind it; the others go on."""

from __future__ import annotations

import traceback
from collections import deque
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import orjson
from crm_events.errors import (
    MissingKeyError,
    UnknownTypeError,
    UnknownVersionError,
    UnwrapError,
)
from crm_store.errors import is_dependency_error, is_refused_value
from crm_store.log.entries import Statement
from crm_store.log.position import columns
from crm_store.logs import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from crm_store.log.logged import LoggedEvent

    from crm_projections.model import Key

MOST_IN_A_ROW: Final = 20
MOST_OF_RECENT: Final = 100
RECENT: Final = 10_000
LONGEST_REASON: Final = 2_000
CUSTOMER: Final = "customer "  # no JSON begins so
LONGEST_STACK: Final = 20
DATA_CLASSES: Final = ("22", "23", "54")
"""SQLSTATE classes of a value: bad data, a broken constraint, a limit of the program."""

# A whole release or deployment, no matter of one event: whoever meets it stands still.
STANDS_STILL: Final = (UnknownTypeError, UnknownVersionError, UnwrapError)

PARKED: Final = "select key from parked_key where projection = $1 and version = $2"
PARK: Final = """
insert into parked_key (projection, version, key, reason, stack, awaits)
select $1, $2, * from unnest($3::text[], $4::text[], $5::text[], $6::text[])
"""
QUEUE: Final = """
insert into parked_event (projection, version, key, epoch, xid, gp)
select $1, $2, u.key, u.epoch, u.xid::xid8, u.gp
from unnest($3::text[], $4::int[], $5::text[], $6::bigint[]) as u(key, epoch, xid, gp)
"""


class KeptAsideError(Exception):
    """A record of this customer is in quarantine: what comes behind it waits."""

    def __init__(self, entry: LoggedEvent[Any]) -> None:
        recorded = entry.recorded
        super().__init__(f"{recorded.topic}/{recorded.partition} number {recorded.sequence}")


class TooManyFailuresError(Exception):
    """So many keys fail that it is the release, not the data: nothing more is parked."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A key parks: why, and where its code was."""

    key: str
    reason: str
    stack: str
    awaits: str | None  # the subject key that is not here yet

    @classmethod
    def of(cls, key: str, error: Exception) -> Failure:
        awaits = error.key_id if isinstance(error, MissingKeyError) else None
        return cls(key, reason_of(error), _stack_of(error), awaits)


@dataclass(slots=True)
class Tally:
    """How a projection's folds fare: the limits that stop a bad release.

    Counts first failures, those that park a key; what waits behind one says nothing new.
    """

    events: int = 0
    in_a_row: int = 0
    recent: deque[int] = field(default_factory=deque[int])  # the numbers of those that failed

    def copy(self) -> Tally:
        return Tally(self.events, self.in_a_row, self.recent.copy())

    def note(self, error: Exception | None) -> None:
        """One more event; `error`: it parks for that. What is not here yet is nobody's fault.

        Raises TooManyFailuresError, from `error`, at 20 in a row or 100 among 10,000 events.
        """
        self.events += 1
        if error is None or isinstance(error, (KeptAsideError, MissingKeyError)):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        self.recent.append(self.events)
        while self.recent[0] <= self.events - RECENT:
            self.recent.popleft()
        if self.in_a_row >= MOST_IN_A_ROW or len(self.recent) >= MOST_OF_RECENT:
            raise TooManyFailuresError(
                f"{self.in_a_row} keys in a row, {len(self.recent)} of {RECENT} events"
                f" cannot be folded: {reason_of(error)}"
            ) from error


@dataclass(slots=True)
class Waiting:
    """The keys that are parked, as a batch is folded; what of the batch parks, and what waits."""

    keys: set[str]
    refused: dict[str, Exception] = field(default_factory=dict[str, Exception])
    patient: bool = False  # a subject key that is not here is waited for, by all
    failures: list[Failure] = field(default_factory=list[Failure])
    events: list[tuple[str, LoggedEvent[Any]]] = field(
        default_factory=list[tuple[str, "LoggedEvent[Any]"]]
    )

    def holds(self, key: str, entry: LoggedEvent[Any]) -> bool:
        """Is the key parked? Then the event waits behind what came before it."""
        if key not in self.keys:
            return False
        self.events.append((key, entry))
        return True

    def holds_customer(self, entry: LoggedEvent[Any]) -> bool:
        """The same of all rows that events of its partition key name."""
        return self.holds(customer_text(entry.partition_key), entry)

    def leaves_out(self, key: str) -> bool:
        """Is nothing to be made of this key's row?"""
        return key in self.keys or key in self.refused

    def refuse(self, key: str) -> None:
        """Raises why nothing can be written for this key, where it was found to be so."""
        if error := self.refused.get(key):
            raise error

    def park(self, key: str, entry: LoggedEvent[Any], error: Exception) -> None:
        """The key waits from this event on."""
        self.keys.add(key)
        self.failures.append(Failure.of(key, error))
        self.events.append((key, entry))

    def parks(self, error: Exception) -> bool:
        """Is what a fold raised a matter of the event, rather than of the release or an outage?"""
        if isinstance(error, MissingKeyError):
            return not self.patient
        return not isinstance(error, STANDS_STILL) and not is_dependency_error(error)

    def without(self, key: str) -> Waiting:
        """What of it is another key's."""
        return Waiting(
            self.keys - {key},
            patient=self.patient,
            failures=[one for one in self.failures if one.key != key],
            events=[one for one in self.events if one[0] != key],
        )

    def statements(self, name: str, version: int) -> list[Statement]:
        """What is to be written of it, with the checkpoint."""
        statements: list[Statement] = []
        if self.failures:
            told = [(one.key, one.reason, one.stack, one.awaits) for one in self.failures]
            told_of = [list(column) for column in zip(*told, strict=True)]
            statements.append(Statement(PARK, (name, version, *told_of)))
        if self.events:
            keys = [key for key, _ in self.events]
            places = columns(entry.position for _, entry in self.events)
            statements.append(Statement(QUEUE, (name, version, keys, *places)))
        return statements


def key_text(key: Key) -> str:
    """A row's key as it is kept and shown: JSON."""
    return orjson.dumps(key, default=str).decode()


def customer_text(partition_key: UUID) -> str:
    """Stands for every row that an event of this partition key names."""
    return f"{CUSTOMER}{partition_key}"


def is_row(key: str) -> bool:
    """Is it the key of one row, rather than of all of a customer's?"""
    return not key.startswith(CUSTOMER)


def is_data_error(error: BaseException) -> bool:
    """Is it the value that PostgreSQL, or its driver, refuses?"""
    return is_refused_value(error, DATA_CLASSES)


def reason_of(error: BaseException) -> str:
    """Why, without a value."""
    return f"{type(error).__name__}: {safe_text(error)}"[:LONGEST_REASON]


def _stack_of(error: BaseException) -> str:
    """Where, the innermost last."""
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    told = [f"{PurePath(one.filename).name}:{one.lineno} {one.name}" for one in frames]
    return "\n".join(told[-LONGEST_STACK:])
