"""The pure fold: facts into sums per customer, caps applied, whatever order they come in."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from analytics.engagement.decay import log_add, log_replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from crm_chassis.log.logged import LoggedEvent

    from analytics.engagement.model import Kind
    from analytics.engagement.weighing import Weighed

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
_ENTRY: Final = struct.Struct("!q16sd")


@dataclass(frozen=True, slots=True)
class Sums:
    """What a customer's facts add up to. `s` and `s_negative` are logarithms, None for nothing."""

    s: float | None = None
    s_negative: float | None = None
    counted: int = 0  # facts that count, after caps
    clamped: int = 0  # facts whose time was not believed
    last_fact_at: datetime | None = None  # of the latest fact, capped ones included


class DayKey(NamedTuple):
    """Where a cap applies: within a customer, a kind and a UTC day."""

    customer_id: UUID
    kind: str
    day: date


class DayEntry(NamedTuple):
    """A fact under a cap, ordered as the cap takes them."""

    at_us: int  # microseconds since 1970
    event_id: bytes
    log_weight: float


@dataclass(slots=True)
class Tally:
    """What a batch brings one customer. `replaced` pairs what a cap drops and takes instead."""

    positive: list[float] = field(default_factory=list[float])
    negative: list[float] = field(default_factory=list[float])
    replaced: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    replaced_negative: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    clamped: int = 0
    last_fact_at: datetime = EPOCH


@dataclass(slots=True)
class Batch:
    """A batch weighed: uncapped facts tallied, capped ones waiting for their day."""

    tallies: dict[UUID, Tally]
    days: dict[DayKey, tuple[Kind, list[DayEntry]]]


def weigh_all(
    batch: Iterable[LoggedEvent[Any]], weigh: Callable[[LoggedEvent[Any]], Weighed | None]
) -> Batch:
    """Sort a batch's facts by customer, and those under a cap by kind and day."""
    tallies: dict[UUID, Tally] = {}
    days: dict[DayKey, tuple[Kind, list[DayEntry]]] = {}
    for logged in batch:
        weighed = weigh(logged)
        if weighed is None:
            continue
        kind, at, log_weight, clamped = weighed
        customer_id = logged.partition_key
        tally = tallies.get(customer_id)
        if tally is None:
            tally = tallies[customer_id] = Tally()
        if at > tally.last_fact_at:  # noqa: PLR1730  # max() costs a call per event
            tally.last_fact_at = at
        if clamped:
            tally.clamped += 1
        if kind.cap_per_day is None:
            (tally.positive if kind.sign == "positive" else tally.negative).append(log_weight)
            continue
        key = DayKey(customer_id, kind.name, at.date())
        entry = day_entry(logged, weighed)
        day = days.get(key)
        if day is None:
            days[key] = (kind, [entry])
        else:
            day[1].append(entry)
    return Batch(tallies, days)


def apply_caps(
    batch: Batch, kept: Mapping[DayKey, Sequence[DayEntry]]
) -> dict[DayKey, list[DayEntry]]:
    """Take from each day the first n; tally what that changes, and answer the days that changed.

    `kept` holds what was taken from those days before, in order.
    """
    changed: dict[DayKey, list[DayEntry]] = {}
    for key, (kind, arrived) in batch.days.items():
        before = kept.get(key, ())
        first = take_first(before, arrived, cap=kind.cap_per_day or len(arrived))
        if first is None:
            continue
        changed[key] = first
        _tally_day(batch.tallies[key.customer_id], kind, before=before, after=first)
    return changed


def day_entry(logged: LoggedEvent[Any], weighed: Weighed) -> DayEntry:
    """A fact as a cap compares it."""
    at_us = (weighed.at - EPOCH) // MICROSECOND
    return DayEntry(at_us, logged.event_id.bytes, weighed.log_weight)


def take_first(
    before: Sequence[DayEntry], arrived: list[DayEntry], *, cap: int
) -> list[DayEntry] | None:
    """The first `cap` of both by (instant, event id); None where that is `before` again."""
    if len(before) >= cap and min(arrived) > before[-1]:
        return None
    return sorted([*before, *arrived])[:cap]


def add_up(sums: Sums, tally: Tally) -> Sums:
    """A customer's sums with what a batch brought."""
    return Sums(
        s=_moved(sums.s, tally.positive, tally.replaced),
        s_negative=_moved(sums.s_negative, tally.negative, tally.replaced_negative),
        counted=sums.counted + len(tally.positive) + len(tally.negative),
        clamped=sums.clamped + tally.clamped,
        last_fact_at=max(sums.last_fact_at or EPOCH, tally.last_fact_at),
    )


def together(members: Iterable[Sums]) -> Sums:
    """The sums of a group of customers that are one person."""
    whole = Sums()
    for each in members:
        whole = replace(
            whole,
            s=log_add(whole.s, [] if each.s is None else [each.s]),
            s_negative=log_add(
                whole.s_negative, [] if each.s_negative is None else [each.s_negative]
            ),
            counted=whole.counted + each.counted,
            clamped=whole.clamped + each.clamped,
            last_fact_at=max(
                (at for at in (whole.last_fact_at, each.last_fact_at) if at is not None),
                default=None,
            ),
        )
    return whole


def pack(entries: Sequence[DayEntry]) -> bytes:
    """Entries as a column keeps them, 32 bytes each."""
    return b"".join([_ENTRY.pack(*entry) for entry in entries])


def unpack(packed: bytes) -> list[DayEntry]:
    return [DayEntry(*parts) for parts in _ENTRY.iter_unpack(packed)]


def _tally_day(
    tally: Tally, kind: Kind, *, before: Sequence[DayEntry], after: Sequence[DayEntry]
) -> None:
    known = set(before)
    added = [entry.log_weight for entry in after if entry not in known]
    still = set(after)
    dropped = [entry.log_weight for entry in before if entry not in still]
    # As many as were dropped take a place that was taken, the rest a free one.
    pairs = list(zip(dropped, added, strict=False))
    free = added[len(dropped) :]
    if kind.sign == "positive":
        tally.positive += free
        tally.replaced += pairs
    else:
        tally.negative += free
        tally.replaced_negative += pairs


def _moved(
    s: float | None, terms: Sequence[float], replaced: Sequence[tuple[float, float]]
) -> float | None:
    s = log_add(s, terms)
    for old, new in replaced:
        if s is not None:
            s = log_replace(s, old, new)
    return s
