"""Tasks over HTTP: what is to be done and by whom; done, or given to somebody else."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.bodies import CommandBody, gated_router
from crm_chassis.http.handling import Handler
from crm_chassis.http.pages import Page, Paging, read_cursor, write_cursor
from crm_chassis.http.problems import Problem
from crm_chassis.http.reads import Receipt, following
from crm_chassis.http.terms import Terms, etag
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, TypeAdapter

from sales.tasks.decider import FinishTask, ReassignTask, Task, TaskCommand
from sales.tasks.todo import TaskRow, Wanted, read_page, read_task, todo

READ: Final = Depends(requires("tasks:read"))
WRITE: Final = Depends(requires("tasks:write"))
PLACE: Final[TypeAdapter[tuple[date, UUID]]] = TypeAdapter(tuple[date, UUID])


class NewOwner(CommandBody):
    owner_id: UUID


class Done(CommandBody):
    """Nothing more is to be said."""


class TaskAnswer(BaseModel):
    """A task. `version` is what `If-Match` takes."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    task_id: UUID
    version: int
    customer_id: UUID
    deal_id: UUID
    owner_id: UUID
    kind: str
    due_on: date
    opened_at: datetime
    done_at: datetime | None  # None: it is open
    reason: str | None  # why nobody needed to do it; None: it is open, or somebody did it


@dataclass(frozen=True, slots=True)
class Tasks:
    """What the routes stand on."""

    handler: Handler[TaskCommand, Task | None]
    pool: asyncpg.Pool


def tasks_routes(tasks: Tasks) -> APIRouter:
    """Reads: scope tasks:read; commands: scope tasks:write."""
    router = gated_router(prefix="/tasks", tag="tasks")
    _add_reads(router, tasks)

    @router.post("/{task_id}/done", dependencies=[WRITE])
    async def finish_task(task_id: UUID, body: Done, response: Response, terms: Terms) -> Receipt:
        """What was to be done is done."""
        del body
        return await tasks.handler.answer(task_id, FinishTask(), terms, response)

    @router.post("/{task_id}/owner", dependencies=[WRITE])
    async def reassign_task(
        task_id: UUID, body: NewOwner, response: Response, terms: Terms
    ) -> Receipt:
        """Let somebody else do it."""
        command = ReassignTask(body.owner_id)
        return await tasks.handler.answer(task_id, command, terms, response)

    return router


def _add_reads(router: APIRouter, tasks: Tasks) -> None:
    following_tasks = Depends(following(todo))

    @router.get("", dependencies=[READ, following_tasks])
    async def list_tasks(
        paging: Paging,
        *,
        owner_id: UUID | None = None,
        deal_id: UUID | None = None,
        is_open: Annotated[bool | None, Query(alias="open")] = None,
        due_by: Annotated[date | None, Query(description="On that day or before it.")] = None,
    ) -> Page[TaskAnswer]:
        """The tasks that are due first, those that all of the parameters fit."""
        behind = read_cursor(PLACE, paging.cursor)
        wanted = Wanted(owner_id, deal_id, is_open, due_by)
        rows = await read_page(tasks.pool, wanted, behind=behind, limit=paging.limit)
        full = len(rows) == paging.limit
        return Page[TaskAnswer](
            items=[_answer(row) for row in rows],
            next=write_cursor(PLACE, (rows[-1].due_on, rows[-1].task_id)) if full else None,
        )

    @router.get("/{task_id}", dependencies=[READ, following_tasks])
    async def one_task(task_id: UUID, response: Response) -> TaskAnswer:
        row = await read_task(tasks.pool, task_id)
        if row is None:
            raise Problem(404, "task-unknown", "There is no task under this id.")
        response.headers["ETag"] = etag(row.version)
        return _answer(row)


def _answer(row: TaskRow) -> TaskAnswer:
    return TaskAnswer.model_validate(row)
