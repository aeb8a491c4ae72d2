"""What one fact weighs under a model: its kind, when it counts, and the logarithm of its weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from crm_events.topics import CONTRACT

from analytics.instants import happened_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from crm_chassis.log.logged import LoggedEvent
    from crm_events.contacts import Order

    from analytics.engagement.model import Kind, ScoringModel


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind made ready: what of it is asked for every event stands by itself."""

    kind: Kind
    name: str
    cap: int  # 0: none
    negative: bool
    log_weight: float
    field: str
    one_of: frozenset[str] | None  # None: whatever the event says

    @classmethod
    def of(cls, kind: Kind) -> Rule:
        return cls(
            kind=kind,
            name=kind.name,
            cap=kind.cap_per_day or 0,
            negative=kind.sign == "negative",
            log_weight=math.log(kind.weight),
            field=kind.when.field if kind.when else "",
            one_of=frozenset(kind.when.one_of) if kind.when else None,
        )


Weighed = tuple[Rule, datetime, float, bool]
"""Under which kind a fact counts, caps aside; when; its term in the sum, which is
ln(weight) + rate * (when - landmark); and whether it claimed another time that is not believed.
A plain tuple, for one is made per event."""


def scale(model: ScoringModel) -> Callable[[LoggedEvent[Any]], Weighed | None]:
    """The model made ready for many facts: a function that weighs one, or says None.

    An event is looked into only where the kinds of its type do.
    """
    rules: dict[str, list[Rule]] = {}
    for kind in model.kinds:
        rules.setdefault(kind.type, []).append(Rule.of(kind))
    with_amount = {kind.type for kind in model.kinds if kind.per_log_amount}
    rate, landmark = model.decay.rate, model.landmark

    def weigh(logged: LoggedEvent[Any]) -> Weighed | None:
        of_type = rules.get(logged.type)
        if of_type is None:
            return None
        rule = of_type[0]
        if rule.one_of is not None:
            rule = _first_that_takes(of_type, logged)
            if rule is None:
                return None
        occurred_at, recorded_at = logged.occurred_at, logged.recorded_at
        at = occurred_at if occurred_at <= recorded_at else happened_at(occurred_at, recorded_at)
        log_weight = rule.log_weight + rate * (at - landmark).total_seconds()
        if with_amount and logged.type in with_amount:
            log_weight += _for_amount(rule.kind, cast("LoggedEvent[Order]", logged))
        return rule, at, log_weight, at is not occurred_at

    return weigh


def _first_that_takes(rules: list[Rule], logged: LoggedEvent[Any]) -> Rule | None:
    """The first kind whose condition holds."""
    # Its JSON is read as it stands where it is written as this release writes it: a tenth of
    # the cost of decoding the event.
    as_written = logged.schema_version == CONTRACT.classes[logged.type].version
    data: dict[str, Any] = logged.data if as_written else {}
    for rule in rules:
        if rule.one_of is None:
            return rule
        told = data.get(rule.field) if as_written else getattr(logged.event, rule.field)
        if isinstance(told, str) and told in rule.one_of:
            return rule
    return None


def _for_amount(kind: Kind, order: LoggedEvent[Order]) -> float:
    """The logarithm of how many times the plain weight an order of its amount counts."""
    amount = max(float(order.event.total.amount), 0.0)
    return math.log1p(kind.per_log_amount * math.log1p(amount) / kind.weight)
