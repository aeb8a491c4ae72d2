"""Why a score is what it is: every fact with what it adds, summing to the score. Pure.

Also a score at past instants: the same facts, folded only so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from analytics.engagement.sums import (
    DayEntry,
    DayKey,
    Sums,
    add_up,
    apply_caps,
    day_entry,
    weigh_all,
)
from analytics.engagement.weighing import scale
from analytics.instants import happened_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from crm_store.log.logged import LoggedEvent

    from analytics.engagement.decay import Decay
    from analytics.engagement.model import Kind, ScoringModel
    from analytics.engagement.weighing import Weighed


class Basis(StrEnum):
    """What a score at a past instant rests on."""

    HAPPENED = "happened"  # facts that had happened by then, whenever we heard of them
    KNOWN = "known"  # facts that had been recorded by then


class GroupBy(StrEnum):
    KIND = "kind"
    MONTH = "month"  # UTC, of the instant at which the fact counts


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one fact adds to a score at an instant; `value` is 0 where a cap leaves it out."""

    event_id: UUID
    customer_id: UUID  # the original one it arrived by
    kind: Kind
    occurred_at: datetime  # as told
    counted_at: datetime  # recorded_at where what was told is not believed
    clamped: bool
    counts: bool
    weight: float  # signed, undecayed
    value: float  # signed, decayed


@dataclass(frozen=True, slots=True)
class Explained:
    """All contributions, largest first, and their exact sums."""

    at: datetime
    contributions: tuple[Contribution, ...]
    positive: float
    negative: float  # not below 0: what the signals against take away

    @property
    def value(self) -> float:
        return self.positive - self.negative


@dataclass(frozen=True, slots=True)
class Part:
    """Contributions taken together: a kind, or a month."""

    name: str
    facts: int
    counted: int
    value: float


def explain(facts: Iterable[LoggedEvent[Any]], model: ScoringModel, *, at: datetime) -> Explained:
    """Each fact's contribution to the score at `at`, caps applied per customer id as the fold does.

    `facts` are those of one group; types the model does not count may be among them.
    """
    weigh, decay = scale(model), model.decay
    weighed = [(each, found) for each in facts if (found := weigh(each)) is not None]
    left_out = _left_out(weighed)
    contributions = [
        _contribution(each, found, decay, at=at, counts=each.event_id not in left_out)
        for each, found in weighed
    ]
    contributions.sort(key=lambda one: (-abs(one.value), one.counted_at, one.event_id))
    return Explained(
        at=at,
        contributions=tuple(contributions),
        positive=math.fsum(one.value for one in contributions if one.value > 0),
        negative=-math.fsum(one.value for one in contributions if one.value < 0),
    )


def parts(explained: Explained, by: GroupBy) -> list[Part]:
    """The contributions grouped, largest part first; they add up to the score as well."""
    name: Callable[[Contribution], str] = (
        (lambda one: one.kind.name)
        if by is GroupBy.KIND
        else (lambda one: f"{one.counted_at:%Y-%m}")
    )
    grouped: dict[str, list[Contribution]] = {}
    for one in explained.contributions:
        grouped.setdefault(name(one), []).append(one)
    found = [
        Part(
            name=part,
            facts=len(ones),
            counted=sum(one.counts for one in ones),
            value=math.fsum(one.value for one in ones),
        )
        for part, ones in grouped.items()
    ]
    return sorted(found, key=lambda part: (-abs(part.value), part.name))


def course(
    facts: Iterable[LoggedEvent[Any]],
    model: ScoringModel,
    *,
    instants: Sequence[datetime],
    basis: Basis,
) -> Iterator[dict[UUID, Sums]]:
    """The sums per customer id at each of the ascending `instants`: the fold, stopped there."""
    weigh = scale(model)
    dated = sorted(
        ((_since(each, found, basis), n, each) for n, each, found in _weighed(facts, weigh))
    )
    sums: dict[UUID, Sums] = {}
    days: dict[DayKey, bytes] = {}
    done = 0
    for at in instants:
        end = done
        while end < len(dated) and dated[end][0] <= at:
            end += 1
        batch = weigh_all((each for _, _, each in dated[done:end]), weigh)
        days.update(apply_caps(batch, days))
        for customer_id, tally in batch.tallies.items():
            sums[customer_id] = add_up(sums.get(customer_id, Sums()), tally)
        done = end
        yield dict(sums)


def until(facts: Iterable[LoggedEvent[Any]], at: datetime, basis: Basis) -> list[LoggedEvent[Any]]:
    """The facts that had happened at an instant, or were known then."""
    if basis is Basis.KNOWN:
        return [each for each in facts if each.recorded_at <= at]
    return [each for each in facts if happened_at(each.occurred_at, each.recorded_at) <= at]


def _weighed(
    facts: Iterable[LoggedEvent[Any]], weigh: Callable[[LoggedEvent[Any]], Weighed | None]
) -> Iterator[tuple[int, LoggedEvent[Any], Weighed]]:
    for n, each in enumerate(facts):
        found = weigh(each)
        if found is not None:
            yield n, each, found


def _since(each: LoggedEvent[Any], found: Weighed, basis: Basis) -> datetime:
    return found[1] if basis is Basis.HAPPENED else each.recorded_at


def _left_out(weighed: Sequence[tuple[LoggedEvent[Any], Weighed]]) -> set[UUID]:
    """Event ids that come too late in their day to count."""
    days: dict[DayKey, list[tuple[DayEntry, UUID, int]]] = {}
    for each, found in weighed:
        rule, at, log_weight, _ = found
        if rule.cap:
            key = (each.partition_key, rule.name, at.date())
            entry = day_entry(each.event_id, at, log_weight)
            days.setdefault(key, []).append((entry, each.event_id, rule.cap))
    return {event_id for day in days.values() for _, event_id, _ in sorted(day)[day[0][2] :]}


def _contribution(
    each: LoggedEvent[Any], found: Weighed, decay: Decay, *, at: datetime, counts: bool
) -> Contribution:
    rule, counted_at, log_weight, clamped = found
    sign = -1.0 if rule.negative else 1.0
    plain = rule.kind.per_log_amount == 0
    return Contribution(
        event_id=each.event_id,
        customer_id=each.partition_key,
        kind=rule.kind,
        occurred_at=each.occurred_at,
        counted_at=counted_at,
        clamped=clamped,
        counts=counts,
        weight=sign * (rule.kind.weight if plain else decay.value(log_weight, counted_at)),
        value=sign * decay.value(log_weight, at) if counts else 0.0,
    )
