"""The to-do list: one row per task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from crm_events.sales import TaskDone, TaskOpened, TaskReassigned
from crm_projections.model import Projection, by_stream
from sqlalchemy import Column, Date, DateTime, Index, Integer, MetaData, Table, Text, Uuid

from sales.where import where

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

    import asyncpg
    from crm_store.log.logged import LoggedEvent

    from sales.where import Asked

task = Table(
    "task",
    MetaData(),
    Column("task_id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("customer_id", Uuid, nullable=False),
    Column("deal_id", Uuid, nullable=False),
    Column("owner_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("due_on", Date, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True), nullable=True),
    Column("reason", Text, nullable=True),
)
Index("task_by_day", task.c.due_on, task.c.task_id)
Index("task_of_owner", task.c.owner_id, task.c.due_on, task.c.task_id)
Index("task_of_deal", task.c.deal_id)

COLUMNS: Final = ", ".join(f"t.{column.name}" for column in task.columns)
ONE: Final = f"select {COLUMNS} from task t where t.task_id = $1"  # noqa: S608  # constants only

Place = tuple["date", "UUID"]
"""When a task is due, and its id."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task. `version` is its stream's."""

    task_id: UUID
    version: int
    customer_id: UUID
    deal_id: UUID
    owner_id: UUID
    kind: str
    due_on: date
    opened_at: datetime
    done_at: datetime | None = None
    reason: str | None = None  # why nobody needed to do it


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks are asked for; None leaves it open. `due_by`: on that day or before it."""

    owner_id: UUID | None = None
    deal_id: UUID | None = None
    is_open: bool | None = None
    due_by: date | None = None


todo: Final = Projection[TaskRow](name="todo", version=1, table=task, row=TaskRow, key=by_stream)


@todo.on(TaskOpened)
def open_task(row: TaskRow | None, logged: LoggedEvent[TaskOpened]) -> TaskRow | None:
    event = logged.event
    return row or TaskRow(
        task_id=logged.stream_id,
        version=logged.stream_version,
        customer_id=event.customer_id,
        deal_id=event.deal_id,
        owner_id=event.owner_id,
        kind=event.kind,
        due_on=event.due_on,
        opened_at=logged.occurred_at,
    )


@todo.on(TaskDone)
def finish_task(row: TaskRow | None, logged: LoggedEvent[TaskDone]) -> TaskRow | None:
    if row is None:
        return None
    return replace(
        row,
        version=logged.stream_version,
        done_at=logged.occurred_at,
        reason=logged.event.reason,
    )


@todo.on(TaskReassigned)
def reassign_task(row: TaskRow | None, logged: LoggedEvent[TaskReassigned]) -> TaskRow | None:
    return row and replace(row, version=logged.stream_version, owner_id=logged.event.owner_id)


async def read_task(pool: asyncpg.Pool, task_id: UUID) -> TaskRow | None:
    row = await pool.fetchrow(ONE, task_id)
    return None if row is None else TaskRow(*row.values())


async def read_page(
    pool: asyncpg.Pool, wanted: Wanted, *, behind: Place | None, limit: int
) -> list[TaskRow]:
    """The tasks that are due first, behind that place."""
    values: list[Any] = [limit]
    asked: tuple[Asked, ...] = (
        ("t.owner_id = ${}", (wanted.owner_id,)),
        ("t.deal_id = ${}", (wanted.deal_id,)),
        ("(t.done_at is null) = ${}", (wanted.is_open,)),
        ("t.due_on <= ${}", (wanted.due_by,)),
        ("(t.due_on, t.task_id) > (${}::date, ${}::uuid)", behind or (None,)),
    )
    rows = await pool.fetch(
        f"select {COLUMNS} from task t where {where(asked, values=values)} "  # noqa: S608  # constants
        "order by t.due_on, t.task_id limit $1",
        *values,
    )
    return [TaskRow(*row.values()) for row in rows]
