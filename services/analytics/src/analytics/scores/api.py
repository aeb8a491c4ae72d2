"""HTTP: a customer's score now, at any instant and through time, each with its reasons."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, TypeVar
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.instants import Instant
from crm_chassis.http.problems import Problem, invalid_input
from crm_chassis.http.reads import ReadModelName, following
from crm_store.clock import Clock
from fastapi import APIRouter, Depends, Query
from pydantic import Field

from analytics.customers.facts import MOST_FACTS, HistoryTooLongError
from analytics.engagement.explanation import Basis, GroupBy
from analytics.engagement.model import ScoringModel
from analytics.engagement.named import SCOPE, NamedModel, named
from analytics.scores.answers import (
    CourseAnswer,
    ExplanationAnswer,
    ScoreAnswer,
    as_of,
    current,
    explanation_of,
    through_time,
)
from analytics.scores.history import History, read_history, read_score

LONGEST_LIST: Final = 10_000
MOST_POINTS: Final = 1_000
SHORTEST_STEP: Final = timedelta(minutes=1)
LONGEST_STEP: Final = timedelta(days=3_660)
MOST_FACTS_AT_ONCE: Final = 1_000
"""About 10 ms of computing; other requests wait no longer than that for one of these."""

DEFAULT_SPAN: Final = timedelta(days=180)
DEFAULT_STEP: Final = timedelta(days=1)

T = TypeVar("T")

Step = Annotated[timedelta, Field(ge=SHORTEST_STEP, le=LONGEST_STEP), Query()]


@dataclass(frozen=True, slots=True)
class Question:
    """Which score is asked about, and how much is to be said about it."""

    model: NamedModel = None
    at: Annotated[Instant | None, Query(description="Now where missing.")] = None
    basis: Annotated[Basis, Query(description="What a past instant rests on.")] = Basis.HAPPENED
    group_by: Annotated[GroupBy | None, Query(description="Sums besides the events.")] = None
    limit: Annotated[int, Query(ge=0, le=LONGEST_LIST, description="Events listed one by one.")] = (
        100
    )


Asked = Annotated[Question, Depends()]


def scores_router(
    *,
    pool: asyncpg.Pool,
    models: Mapping[str, ScoringModel],
    read_models: tuple[ReadModelName, ...],
    clock: Clock,
) -> APIRouter:
    """The routes. `models` by name, the first is the one meant where none is named."""
    router = APIRouter(
        tags=["scores"],
        prefix="/customers/{customer_id}/score",
        dependencies=[Depends(requires(SCOPE)), Depends(following(*read_models))],
    )

    @router.get("")
    async def score(
        customer_id: UUID,
        asked: Asked,
        *,
        explain: Annotated[bool, Query(description="Say why, too.")] = False,
    ) -> ScoreAnswer:
        """A customer's score, with all ids that are the same person."""
        model, now = named(models, asked.model), clock()
        past = asked.at is not None and asked.at < now
        if not past and not explain:
            found = await read_score(pool, model, customer_id)
            if found is None:
                raise _never_heard()
            return current(found, model, asked.at or now)
        history = await _history(pool, model, customer_id)

        def answer() -> ScoreAnswer:
            why = _why(history, model, asked, now) if explain else None
            if past and asked.at is not None:
                return as_of(history, model, asked.at, basis=asked.basis, explanation=why)
            return current(history.score, model, asked.at or now, why)

        return await _computed(history, answer)

    @router.get("/explanation")
    async def explanation(customer_id: UUID, asked: Asked) -> ExplanationAnswer:
        """What each event adds to the score, largest first; all together are the score."""
        model, now = named(models, asked.model), clock()
        history = await _history(pool, model, customer_id)
        return await _computed(history, lambda: _why(history, model, asked, now))

    @router.get("/history")
    async def history(  # noqa: PLR0913  # each a query parameter
        customer_id: UUID,
        *,
        model: NamedModel = None,
        since: Annotated[Instant | None, Query(alias="from")] = None,
        until: Annotated[Instant | None, Query(alias="to")] = None,
        step: Step = DEFAULT_STEP,
        basis: Basis = Basis.HAPPENED,
    ) -> CourseAnswer:
        """One score through time, a point every `step` from `from` to `to`."""
        scoring, last = named(models, model), until or clock()
        instants = _instants(since or last - DEFAULT_SPAN, last, step)
        found = await _history(pool, scoring, customer_id)
        return await _computed(found, lambda: through_time(found, scoring, instants, basis=basis))

    return router


async def _computed(history: History, answer: Callable[[], T]) -> T:
    """Answer from a history; from a long one beside the loop, which has others to serve."""
    if len(history.facts) <= MOST_FACTS_AT_ONCE:
        return answer()
    return await asyncio.to_thread(answer)


def _why(
    history: History, model: ScoringModel, asked: Question, now: datetime
) -> ExplanationAnswer:
    past = asked.at is not None and asked.at < now
    return explanation_of(
        history,
        model,
        asked.at or now,
        basis=asked.basis if past else None,
        limit=asked.limit,
        group_by=asked.group_by,
    )


async def _history(pool: asyncpg.Pool, model: ScoringModel, customer_id: UUID) -> History:
    try:
        found = await read_history(pool, model, customer_id)
    except HistoryTooLongError:
        raise Problem(
            422, "history-too-long", f"More than {MOST_FACTS} events are behind it."
        ) from None
    if found is None:
        raise _never_heard()
    return found


def _never_heard() -> Problem:
    return Problem(404, "unknown-customer", "Nothing was ever heard of this customer.")


def _instants(first: datetime, last: datetime, step: timedelta) -> list[datetime]:
    if first > last:
        raise invalid_input("query", "/from", "lies after /to")
    count = (last - first) // step + 1
    if count > MOST_POINTS:
        raise invalid_input("query", "/step", f"gives {count} points, more than {MOST_POINTS}")
    return [first + n * step for n in range(count)]
