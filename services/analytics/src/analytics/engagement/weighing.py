"""What one fact weighs under a model: its kind, when it counts, and the logarithm of its weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from crm_events.errors import UnknownVersionError
from crm_events.topics import CONTRACT
from crm_events.upcasters import UPCASTERS, upcast

from analytics.instants import happened_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from analytics.engagement.model import Kind, ScoringModel


class Fact(Protocol):
    """What is asked of an event: a `LoggedEvent` and a `Glance` both tell it."""

    @property
    def type(self) -> str: ...
    @property
    def partition_key(self) -> UUID: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def recorded_at(self) -> datetime: ...
    @property
    def event_id(self) -> UUID | None: ...
    @property
    def schema_version(self) -> int: ...
    @property
    def data(self) -> dict[str, Any]: ...


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


def scale(model: ScoringModel) -> Callable[[Fact], Weighed | None]:
    """The model made ready for many facts: a function that weighs one, or says None.

    An event is looked into only where the kinds of its type do. One of a version that this release
    does not know raises UnknownVersionError, for what it means may have changed.
    """
    rules: dict[str, list[Rule]] = {}
    for kind in model.kinds:
        rules.setdefault(kind.type, []).append(Rule.of(kind))
    with_amount = {kind.type for kind in model.kinds if kind.per_log_amount}
    # Most events are of a type that has one kind only, and weigh the same each time.
    plain = {
        name: of_type[0]
        for name, of_type in rules.items()
        if of_type[0].one_of is None and name not in with_amount
    }
    newest = {name: CONTRACT.classes[name].version for name in rules}
    rate, landmark = model.decay.rate, model.landmark

    def weigh(logged: Fact) -> Weighed | None:
        rule = plain.get(logged.type)
        if rule is None:
            of_type = rules.get(logged.type)
            rule = None if of_type is None else _first_that_takes(of_type, logged)
            if rule is None:
                return None
        if logged.schema_version > newest[logged.type]:
            raise UnknownVersionError(logged.type, logged.schema_version)
        occurred_at, recorded_at = logged.occurred_at, logged.recorded_at
        at = occurred_at if occurred_at <= recorded_at else happened_at(occurred_at, recorded_at)
        log_weight = rule.log_weight + rate * (at - landmark).total_seconds()
        if with_amount and logged.type in with_amount:
            log_weight += _for_amount(rule.kind, logged)
        return rule, at, log_weight, at is not occurred_at

    return weigh


def _first_that_takes(rules: list[Rule], logged: Fact) -> Rule | None:
    """The first kind whose condition holds."""
    if rules[0].one_of is None:
        return rules[0]
    data = _as_this_release_writes_it(logged)
    for rule in rules:
        if rule.one_of is None:
            return rule
        told = data.get(rule.field)
        if isinstance(told, str) and told in rule.one_of:
            return rule
    return None


def _for_amount(kind: Kind, order: Fact) -> float:
    """The logarithm of how many times the plain weight an order of its amount counts."""
    total: dict[str, Any] = _as_this_release_writes_it(order)["total"]
    amount = max(float(total["amount"]), 0.0)
    return math.log1p(kind.per_log_amount * math.log1p(amount) / kind.weight)


def _as_this_release_writes_it(logged: Fact) -> dict[str, Any]:
    """The JSON of an event, which is a tenth of the cost of decoding it.

    Raises UnknownVersionError.
    """
    version, present = logged.schema_version, CONTRACT.classes[logged.type].version
    if version == present:
        return logged.data
    return upcast(
        logged.data, type=logged.type, version=version, to_version=present, upcasters=UPCASTERS
    )
