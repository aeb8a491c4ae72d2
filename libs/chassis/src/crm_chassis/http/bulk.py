"""Bulk commands: each item by itself, in order, with an answer of its own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel

from crm_chassis.http.problems import problem_of, problem_response

MOST_ITEMS = 100

T = TypeVar("T", bound=BaseModel)
C = TypeVar("C")


class ItemAnswer(BaseModel, Generic[T]):
    """What one item would have been answered alone: `answer`, or a problem document."""

    status: int
    answer: T | None = None
    problem: dict[str, Any] | None = None


class BulkAnswer(BaseModel, Generic[T]):
    items: list[ItemAnswer[T]]


async def one_by_one(
    items: Sequence[C], do: Callable[[int, C], Awaitable[T]], *, status: int, instance: str
) -> BulkAnswer[T]:
    """Do each item; one that is refused, or that meets an outage, keeps no other from being done.

    `status` is of an item that is done, `instance` names the request in problem documents.
    """
    answers: list[ItemAnswer[T]] = []
    for number, item in enumerate(items):
        try:
            answers.append(ItemAnswer(status=status, answer=await do(number, item)))
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            told = orjson.loads(problem_response(problem, instance=instance).body)
            answers.append(ItemAnswer(status=problem.status_code, problem=told))
    return BulkAnswer(items=answers)
