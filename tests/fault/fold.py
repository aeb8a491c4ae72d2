"""What every projection must hold: plain sums over what was acknowledged, in memory.

Written beside the product's own folds, not with them: what both get wrong must be wrong twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.fault.load import Sent

TYPES: Final = {
    "purchase": "contacts.purchase.completed",
    "refund": "contacts.purchase.refunded",
    "tracked": "contacts.activity.tracked",
    "page": "contacts.activity.page",
    "identify": "contacts.activity.identified",
}
SECONDS_PER_DAY: Final = 86_400
BELIEVED: Final = timedelta(minutes=5)
CLOSE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Bought:
    orders: int
    spent: Decimal
    refunds: int
    refunded: Decimal


@dataclass(frozen=True, slots=True)
class Scored:
    """Logarithms of the sums of what speaks for and against, and how many facts count."""

    s: float | None
    s_negative: float | None
    counted: int

    def agrees(self, s: float | None, s_negative: float | None, counted: int) -> bool:
        return counted == self.counted and close(s, self.s) and close(s_negative, self.s_negative)


def bought(facts: Iterable[Sent]) -> Bought | None:
    """What a customer bought; None for one who did not."""
    spent = [fact.amount for fact in facts if fact.kind == "purchase"]
    refunded = [fact.amount for fact in facts if fact.kind == "refund"]
    if not spent and not refunded:
        return None
    return Bought(len(spent), sum(spent, Decimal(0)), len(refunded), sum(refunded, Decimal(0)))


def plan(facts: Iterable[Sent]) -> str | None:
    """What was told last of a customer's plan; None of one of whom nothing was told."""
    told = [fact.number for fact in facts if fact.kind == "identify"]
    return f"plan {told[-1]}" if told else None


def scored(
    facts: Iterable[Sent], model: Mapping[str, Any], recorded_at: Callable[[Sent], datetime]
) -> Scored:
    """A customer's sums under a model, caps applied.

    `recorded_at` stands for the fact's own time where that is too far ahead to be believed.
    """
    kinds = {kind["name"]: kind for kind in model["kinds"]}
    landmark = datetime.fromisoformat(model["landmark"])
    rate = math.log(2) / (model["half_life_days"] * SECONDS_PER_DAY)
    taken: Counter[tuple[str, date]] = Counter()
    terms: dict[str, list[float]] = {"positive": [], "negative": []}
    timed = [(_time(fact, recorded_at), fact.number, fact) for fact in facts]
    for at, _, fact in sorted(timed, key=lambda each: each[:2]):
        kind = kinds[fact.kind]
        day = (fact.kind, at.date())
        taken[day] += 1
        if taken[day] > kind.get("cap_per_day", math.inf):
            continue
        term = math.log(kind["weight"]) + rate * (at - landmark).total_seconds()
        terms[kind.get("sign", "positive")].append(term)
    positive, negative = terms["positive"], terms["negative"]
    return Scored(_log_sum(positive), _log_sum(negative), len(positive) + len(negative))


def net(members: Iterable[Scored]) -> float | None:
    """Where a group stands: the logarithm of what speaks for it, less what speaks against."""
    group = list(members)
    positive = _log_sum([one.s for one in group if one.s is not None])
    negative = _log_sum([one.s_negative for one in group if one.s_negative is not None])
    if positive is None or negative is None:
        return positive
    return None if negative >= positive else positive + math.log(-math.expm1(negative - positive))


def close(one: float | None, other: float | None) -> bool:
    """Do two logarithms stand for the same value, to 1e-9 of it?"""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= CLOSE * max(1.0, abs(one))


def _time(fact: Sent, recorded_at: Callable[[Sent], datetime]) -> datetime:
    recorded = recorded_at(fact)
    return recorded if fact.at > recorded + BELIEVED else fact.at


def _log_sum(terms: list[float]) -> float | None:
    if not terms:
        return None
    largest = max(terms)
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))
