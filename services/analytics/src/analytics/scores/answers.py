"""What the API says about scores: the shapes, and how they come from sums and facts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from analytics.bands.bands import band_at
from analytics.engagement.explanation import (
    Basis,
    Contribution,
    Explained,
    GroupBy,
    course,
    explain,
    parts,
    until,
)
from analytics.engagement.named import ModelName, name_of
from analytics.engagement.sums import Sums, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.customers.groups import Group
    from analytics.engagement.model import ScoringModel
    from analytics.scores.history import History, Score


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ContributionAnswer(Answer):
    """What one event adds. `share` is of all that speaks for and against together."""

    event_id: UUID
    customer_id: UUID
    type: str
    kind: str
    occurred_at: datetime
    counted_at: datetime
    weight: float
    value: float
    share: float
    status: Literal["counts", "left-out-by-cap"]
    clamped: bool
    why: str


class PartAnswer(Answer):
    """Contributions taken together: a kind or a month."""

    name: str
    facts: int
    counted: int
    value: float
    share: float
    why: str | None = None


class RestAnswer(Answer):
    """Contributions that are not listed one by one: the smallest."""

    facts: int
    value: float


class ExplanationAnswer(Answer):
    """`value` is the sum of all contributions; `difference` is how far the score is from it."""

    at: datetime
    value: float
    positive: float
    negative: float
    difference: float
    facts: int
    contributions: list[ContributionAnswer]
    rest: RestAnswer
    groups: list[PartAnswer] | None = None


class BandAnswer(Answer):
    """What the value amounts to in the model's words. `until`: its end if nothing more is heard.

    None: it does not end by time alone.
    """

    name: str
    until: datetime | None


class ScoreAnswer(Answer):
    """A score at an instant. It is exp(s - k) - exp(s_negative - k).

    k = ln 2 * (at - landmark) / half-life; a term whose logarithm is null is missing. `members`
    are the customer ids that are one person, `root` the one they were linked into.
    """

    customer_id: UUID
    root: UUID
    members: list[UUID]
    model: ModelName
    at: datetime
    basis: Literal["current", "happened", "known"]
    value: float
    band: BandAnswer | None  # None: the model has no bands
    positive: float
    negative: float
    s: float | None
    s_negative: float | None
    landmark: datetime
    half_life_days: float
    counted: int
    clamped: int
    last_fact_at: datetime | None
    explanation: ExplanationAnswer | None = None


class PointAnswer(Answer):
    at: datetime
    value: float
    positive: float
    negative: float
    counted: int


class CourseAnswer(Answer):
    """One score through time."""

    customer_id: UUID
    model: ModelName
    basis: Basis
    points: list[PointAnswer]


def current(
    score: Score,
    model: ScoringModel,
    at: datetime,
    explanation: ExplanationAnswer | None = None,
) -> ScoreAnswer:
    """The score as its rows stand, evaluated at `at`."""
    return _answer(score.customer_id, score.group(), score.sums, model, at, "current", explanation)


def as_of(
    history: History,
    model: ScoringModel,
    at: datetime,
    *,
    basis: Basis,
    explanation: ExplanationAnswer | None = None,
) -> ScoreAnswer:
    """The score at a past instant: its facts folded again, only so far."""
    group = _group(history, at, basis)
    sums = together(
        next(iter(course(history.of(group), model, instants=[at], basis=basis))).values()
    )
    return _answer(history.score.customer_id, group, sums, model, at, basis.value, explanation)


def through_time(
    history: History, model: ScoringModel, instants: Sequence[datetime], *, basis: Basis
) -> CourseAnswer:
    """The score at each of the ascending instants."""
    steps = course(history.facts, model, instants=instants, basis=basis)
    points: list[PointAnswer] = []
    for at, sums_by_id in zip(instants, steps, strict=True):
        members = _group(history, at, basis).members
        sums = together(sums_by_id[one] for one in members if one in sums_by_id)
        positive, negative = _values(sums, model, at)
        points.append(
            PointAnswer(
                at=at,
                value=positive - negative,
                positive=positive,
                negative=negative,
                counted=sums.counted,
            )
        )
    return CourseAnswer(
        customer_id=history.score.customer_id, model=name_of(model), basis=basis, points=points
    )


def explanation_of(  # noqa: PLR0913  # each named at the call
    history: History,
    model: ScoringModel,
    at: datetime,
    *,
    basis: Basis | None,
    limit: int,
    group_by: GroupBy | None,
) -> ExplanationAnswer:
    """Why: of the score as it stands (`basis` None), or of that at a past instant."""
    if basis is None:
        facts, sums = history.of(history.score.group()), history.score.sums
    else:
        facts = until(history.of(_group(history, at, basis)), at, basis)
        sums = together(next(iter(course(facts, model, instants=[at], basis=basis))).values())
    explained = explain(facts, model, at=at)
    positive, negative = _values(sums, model, at)
    gross = explained.positive + explained.negative
    listed = explained.contributions[:limit]
    unlisted = explained.contributions[limit:]
    return ExplanationAnswer(
        at=at,
        value=explained.value,
        positive=explained.positive,
        negative=explained.negative,
        difference=(positive - negative) - explained.value,
        facts=len(explained.contributions),
        contributions=[_contribution(one, gross) for one in listed],
        rest=RestAnswer(facts=len(unlisted), value=sum(one.value for one in unlisted)),
        groups=None if group_by is None else _parts(explained, model, group_by, gross),
    )


def _group(history: History, at: datetime, basis: Basis) -> Group:
    """Who was one person: as known now, or as known then."""
    return history.score.group(known_at=at if basis is Basis.KNOWN else None)


def _values(sums: Sums, model: ScoringModel, at: datetime) -> tuple[float, float]:
    decay = model.decay
    return decay.value(sums.s, at), decay.value(sums.s_negative, at)


def _answer(  # noqa: PLR0913, PLR0917  # private, and called twice
    customer_id: UUID,
    group: Group,
    sums: Sums,
    model: ScoringModel,
    at: datetime,
    basis: Literal["current", "happened", "known"],
    explanation: ExplanationAnswer | None,
) -> ScoreAnswer:
    positive, negative = _values(sums, model, at)
    return ScoreAnswer(
        customer_id=customer_id,
        root=group.root,
        members=list(group.members),
        model=name_of(model),
        at=at,
        basis=basis,
        value=positive - negative,
        band=_band(sums, model, at),
        positive=positive,
        negative=negative,
        s=sums.s,
        s_negative=sums.s_negative,
        landmark=model.landmark,
        half_life_days=model.half_life_days,
        counted=sums.counted,
        clamped=sums.clamped,
        last_fact_at=sums.last_fact_at,
        explanation=explanation,
    )


def _band(sums: Sums, model: ScoringModel, at: datetime) -> BandAnswer | None:
    if not model.bands:
        return None
    found = band_at(model, sums, at)
    return BandAnswer(name=found.name, until=found.until)


def _contribution(one: Contribution, gross: float) -> ContributionAnswer:
    return ContributionAnswer(
        event_id=one.event_id,
        customer_id=one.customer_id,
        type=one.kind.type,
        kind=one.kind.name,
        occurred_at=one.occurred_at,
        counted_at=one.counted_at,
        weight=one.weight,
        value=one.value,
        share=abs(one.value) / gross if gross else 0.0,
        status="counts" if one.counts else "left-out-by-cap",
        clamped=one.clamped,
        why=one.kind.why,
    )


def _parts(
    explained: Explained, model: ScoringModel, by: GroupBy, gross: float
) -> list[PartAnswer]:
    whys = {kind.name: kind.why for kind in model.kinds} if by is GroupBy.KIND else {}
    return [
        PartAnswer(
            name=part.name,
            facts=part.facts,
            counted=part.counted,
            value=part.value,
            share=abs(part.value) / gross if gross else 0.0,
            why=whys.get(part.name),
        )
        for part in parts(explained, by)
    ]
