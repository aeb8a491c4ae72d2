"""The pure fold: facts into sums per customer, caps applied, whatever order they come in.

It runs for every event there is, so it is written to be quick: plain tuples, and a day's facts
as bytes that compare as they stand.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from analytics.engagement.decay import log_add, log_replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from analytics.engagement.weighing import Fact, Rule, Weighed

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
SHIFT_US: Final = 2**63
"""Makes instants before 1970 sort before those behind it, as bytes too."""

ENTRY_BYTES: Final = 32
_ENTRY: Final = struct.Struct("!Q16sd")
_LOG_WEIGHT: Final = struct.Struct("!24xd")


class Sums(NamedTuple):
    """What a customer's facts add up to. `s` and `s_negative` are logarithms, None for nothing."""

    s: float | None = None
    s_negative: float | None = None
    counted: int = 0  # facts that count, after caps
    clamped: int = 0  # facts whose time was not believed
    last_fact_at: datetime | None = None  # of the latest fact, capped ones included


NOTHING: Final = Sums()

DayKey = tuple[UUID, str, date]
"""Where a cap applies: within a customer, a kind and a UTC day."""

DayEntry = bytes
"""A fact under a cap, 32 bytes: instant, event id, logarithm of weight. Sorts as caps take."""


class Tally:
    """What a batch brings one customer; `replaced` pairs what a cap drops and takes instead."""

    __slots__ = (
        "clamped", "last_fact_at", "negative", "positive", "replaced", "replaced_negative"
    )  # fmt: skip

    def __init__(self, last_fact_at: datetime) -> None:
        self.last_fact_at = last_fact_at
        self.clamped = 0
        self.positive: list[float] = []
        self.negative: list[float] = []
        self.replaced: list[tuple[float, float]] = []
        self.replaced_negative: list[tuple[float, float]] = []


@dataclass(slots=True)
class Batch:
    """A batch weighed: uncapped facts tallied, capped ones waiting for their day."""

    tallies: dict[UUID, Tally]
    days: dict[DayKey, tuple[Rule, list[DayEntry]]]


def weigh_all(batch: Iterable[Fact], weigh: Callable[[Fact], Weighed | None]) -> Batch:
    """Sort a batch's facts by customer, and those under a cap by kind and day."""
    tallies: dict[UUID, Tally] = {}
    days: dict[DayKey, tuple[Rule, list[DayEntry]]] = {}
    for logged in batch:
        weighed = weigh(logged)
        if weighed is None:
            continue
        rule, at, log_weight, clamped = weighed
        customer_id = logged.partition_key
        tally = tallies.get(customer_id)
        if tally is None:
            tally = tallies[customer_id] = Tally(at)
        elif at > tally.last_fact_at:
            tally.last_fact_at = at
        if clamped:
            tally.clamped += 1
        if not rule.cap:
            (tally.negative if rule.negative else tally.positive).append(log_weight)
            continue
        key = (customer_id, rule.name, at.date())
        if logged.event_id is None:
            raise LookupError(f"{logged.type} stands under a cap, and its id was not read")
        entry = day_entry(logged.event_id, at, log_weight)
        day = days.get(key)
        if day is None:
            days[key] = (rule, [entry])
        else:
            day[1].append(entry)
    return Batch(tallies, days)


def apply_caps(batch: Batch, kept: Mapping[DayKey, bytes]) -> dict[DayKey, bytes]:
    """Take from each day the first n; tally what that changes, and answer the days that changed.

    `kept` holds what was taken from those days before: entries in order, joined.
    """
    changed: dict[DayKey, bytes] = {}
    for key, (rule, arrived) in batch.days.items():
        before = kept.get(key, b"")
        arrived.sort()
        room = rule.cap - len(before) // ENTRY_BYTES
        if before and arrived[0] < before[-ENTRY_BYTES:]:
            after, added, dropped = _taken_late(before, arrived, cap=rule.cap)
        else:  # all come behind those that were taken
            added, dropped = arrived[:room], []
            after = before + b"".join(added)
        if not added:
            continue
        changed[key] = after
        _tally_day(batch.tallies[key[0]], rule, added=added, dropped=dropped)
    return changed


def add_up(sums: Sums, tally: Tally) -> Sums:
    """A customer's sums with what a batch brought."""
    s, s_negative, counted, clamped, last_fact_at = sums
    positive, negative = tally.positive, tally.negative
    if positive or tally.replaced:
        s = _moved(s, positive, tally.replaced)
    if negative or tally.replaced_negative:
        s_negative = _moved(s_negative, negative, tally.replaced_negative)
    if last_fact_at is None or tally.last_fact_at > last_fact_at:
        last_fact_at = tally.last_fact_at
    return Sums(
        s,
        s_negative,
        counted + len(positive) + len(negative),
        clamped + tally.clamped,
        last_fact_at,
    )


def together(members: Iterable[Sums]) -> Sums:
    """The sums of a group of customers that are one person."""
    every = list(members)
    return Sums(
        s=log_add(None, [one.s for one in every if one.s is not None]),
        s_negative=log_add(None, [one.s_negative for one in every if one.s_negative is not None]),
        counted=sum(one.counted for one in every),
        clamped=sum(one.clamped for one in every),
        last_fact_at=max(
            (one.last_fact_at for one in every if one.last_fact_at is not None), default=None
        ),
    )


def day_entry(event_id: UUID, at: datetime, log_weight: float) -> DayEntry:
    """A fact as a cap compares and keeps it."""
    return _ENTRY.pack((at - EPOCH) // MICROSECOND + SHIFT_US, event_id.bytes, log_weight)


def _taken_late(
    before: bytes, arrived: list[DayEntry], *, cap: int
) -> tuple[bytes, list[DayEntry], list[DayEntry]]:
    """What a day keeps where a fact comes before one that was taken; what that adds and drops."""
    known = [before[at : at + ENTRY_BYTES] for at in range(0, len(before), ENTRY_BYTES)]
    first = sorted([*known, *arrived])[:cap]
    taken, was_taken = set(first), set(known)
    return (
        b"".join(first),
        [entry for entry in first if entry not in was_taken],
        [entry for entry in known if entry not in taken],
    )


def _tally_day(tally: Tally, rule: Rule, *, added: list[DayEntry], dropped: list[DayEntry]) -> None:
    # As many as were dropped take a place that was taken, the rest a free one.
    free = [_LOG_WEIGHT.unpack(entry)[0] for entry in added[len(dropped) :]]
    pairs = [
        (_LOG_WEIGHT.unpack(old)[0], _LOG_WEIGHT.unpack(new)[0])
        for old, new in zip(dropped, added, strict=False)
    ]
    if rule.negative:
        tally.negative += free
        tally.replaced_negative += pairs
    else:
        tally.positive += free
        tally.replaced += pairs


def _moved(
    s: float | None, terms: list[float], replaced: list[tuple[float, float]]
) -> float | None:
    s = log_add(s, terms)
    for old, new in replaced:
        if s is not None:
            s = log_replace(s, old, new)
    return s
