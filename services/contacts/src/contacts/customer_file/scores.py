"""The scores analytics tells of: the course each is on, and its value at any instant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, fsum, log
from typing import TYPE_CHECKING, Any, Final

from crm_events.analytics import ScoreMoved
from crm_projections.model import Projection
from sqlalchemy import Column, DateTime, Double, Integer, MetaData, Table, Text, Uuid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    import asyncpg
    from crm_projections.model import Key
    from crm_store.log.logged import LoggedEvent

LARGEST_EXPONENT: Final = 700.0
"""exp() of more is no double; only an instant long before the landmark gets there."""

CLOCK_SLACK: Final = timedelta(minutes=10)

score = Table(
    "score",
    MetaData(),
    Column("customer_id", Uuid, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("model_version", Integer, nullable=False),
    Column("s", Double, nullable=True),
    Column("s_negative", Double, nullable=True),
    Column("landmark", DateTime(timezone=True), nullable=False),
    Column("half_life_seconds", Double, nullable=False),
    Column("counted", Integer, nullable=False),
    Column("last_fact_at", DateTime(timezone=True), nullable=False),
)

OF_CUSTOMERS: Final = """
select s.* from score s where s.customer_id = any($1::uuid[]) order by s.model, s.customer_id
"""


@dataclass(frozen=True, slots=True)
class Score:
    """The course of one customer's score under a model."""

    customer_id: UUID
    model: str
    model_version: int
    s: float | None
    s_negative: float | None
    landmark: datetime
    half_life_seconds: float
    counted: int
    last_fact_at: datetime

    def value_at(self, at: datetime) -> float:
        """exp(s - k) - exp(s_negative - k), k = ln 2 * (at - landmark) / half life.

        Source: forward decay (Cormode et al., 2009), as `ScoreMoved` states it.
        """
        k = log(2) * (at - self.landmark).total_seconds() / self.half_life_seconds
        positive = 0.0 if self.s is None else exp(min(self.s - k, LARGEST_EXPONENT))
        negative = (
            0.0 if self.s_negative is None else exp(min(self.s_negative - k, LARGEST_EXPONENT))
        )
        return positive - negative


def _course(logged: LoggedEvent[ScoreMoved]) -> Key:
    return (logged.event.customer_id, logged.event.model)


scores: Final = Projection[Score](name="scores", version=1, table=score, row=Score, key=_course)


@scores.on(ScoreMoved)
def take_course(row: Score | None, logged: LoggedEvent[ScoreMoved]) -> Score:
    event = logged.event
    if row is not None and row.model_version > event.model_version:
        return row
    return Score(
        customer_id=event.customer_id,
        model=event.model,
        model_version=event.model_version,
        s=event.s,
        s_negative=event.s_negative,
        landmark=event.landmark,
        half_life_seconds=event.half_life_seconds,
        counted=event.counted,
        last_fact_at=event.last_fact_at,
    )


@dataclass(frozen=True, slots=True)
class GroupScore:
    """A model's score over a group of customers at an instant: the sum of theirs.

    `value` is None at an instant before the last fact counted, when the score was another one:
    analytics answers for those, from the facts.
    """

    model: str
    model_version: int
    value: float | None
    counted: int
    last_fact_at: datetime


def summed(courses: Iterable[Score], at: datetime) -> list[GroupScore]:
    """Each model's score over all these customers at that instant.

    While a model is being replaced, customers that still follow the former version are left out.
    """
    by_model: dict[str, list[Score]] = {}
    for course in courses:
        by_model.setdefault(course.model, []).append(course)
    return [_sum(model, group, at) for model, group in sorted(by_model.items())]


async def courses_of(pool: asyncpg.Pool, customer_ids: Sequence[UUID]) -> list[Score]:
    """The courses of these customers under every model."""
    rows: list[Any] = await pool.fetch(OF_CUSTOMERS, list(customer_ids))
    return [Score(*row.values()) for row in rows]


def _sum(model: str, courses: Sequence[Score], at: datetime) -> GroupScore:
    version = max(course.model_version for course in courses)
    present = [course for course in courses if course.model_version == version]
    last_fact_at = max(course.last_fact_at for course in present)
    known = at >= last_fact_at - CLOCK_SLACK
    return GroupScore(
        model=model,
        model_version=version,
        value=fsum(course.value_at(at) for course in present) if known else None,
        counted=sum(course.counted for course in present),
        last_fact_at=last_fact_at,
    )
