"""What may happen to a task: commands and state in, events or a refusal out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, assert_never, cast

from crm_deciding.decider import Decider
from crm_deciding.refusal import Refusal
from crm_events.sales import TaskDone, TaskOpened, TaskReassigned

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

TaskEvent = TaskOpened | TaskDone | TaskReassigned


class TaskUnknown(Refusal):
    """There is no task under this id."""


class TaskAlreadyOpened(Refusal):
    """The task id is taken."""


class TaskNotOpen(Refusal):
    """The task is done."""


class Kind(StrEnum):
    """What is to be done."""

    ROTTING_DEAL = "rotting-deal"  # call the customer: the deal has stood in its stage for too long


class Reason(StrEnum):
    """Why nobody needs to do it any more."""

    DEAL_MOVED = "deal-moved"
    DEAL_WON = "deal-won"
    DEAL_LOST = "deal-lost"


@dataclass(frozen=True, slots=True)
class OpenTask:
    task_id: UUID
    customer_id: UUID
    deal_id: UUID
    owner_id: UUID
    kind: Kind
    due_on: date


@dataclass(frozen=True, slots=True)
class FinishTask:
    pass


@dataclass(frozen=True, slots=True)
class CloseTask:
    """Nobody needs to do it any more. One that is done, or was never opened, is left alone."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class ReassignTask:
    owner_id: UUID


TaskCommand = OpenTask | FinishTask | CloseTask | ReassignTask


@dataclass(frozen=True, slots=True)
class Task:
    """What decisions about a task stand on. Of a task that is not there, the state is None."""

    task_id: UUID
    customer_id: UUID
    owner_id: UUID
    done: bool = False


def decide(command: TaskCommand, state: Task | None) -> tuple[TaskEvent, ...]:
    """What follows from the command; nothing where it changes nothing.

    Raises:
        Refusal: one of those above.
    """
    match command:
        case OpenTask():
            return _open(command, state)
        case FinishTask():
            return (_done(_still_open(state), None),)
        case CloseTask(reason=reason):
            return () if state is None or state.done else (_done(state, reason),)
        case ReassignTask(owner_id=owner_id):
            return _reassign(_still_open(state), owner_id)
        case _:
            assert_never(command)


def evolve(state: Task | None, event: TaskEvent) -> Task | None:
    """The state after the event."""
    match event:
        case TaskOpened():
            return Task(event.task_id, event.customer_id, event.owner_id)
        case TaskDone():
            return state and replace(state, done=True)
        case TaskReassigned():
            return state and replace(state, owner_id=event.owner_id)
        case _:
            assert_never(event)


TASKS: Final = Decider["TaskCommand", "Task | None"](
    name="task",
    initial=None,
    decide=decide,
    evolve=lambda state, event, _: evolve(state, cast("TaskEvent", event)),
    partition_key=lambda event: cast("TaskEvent", event).customer_id,
)
"""Tasks as the chassis runs them."""


def _open(command: OpenTask, state: Task | None) -> tuple[TaskEvent, ...]:
    if state is not None:
        raise TaskAlreadyOpened
    return (
        TaskOpened(
            task_id=command.task_id,
            customer_id=command.customer_id,
            deal_id=command.deal_id,
            owner_id=command.owner_id,
            kind=command.kind,
            due_on=command.due_on,
        ),
    )


def _done(task: Task, reason: Reason | None) -> TaskDone:
    return TaskDone(task_id=task.task_id, customer_id=task.customer_id, reason=reason)


def _reassign(task: Task, owner_id: UUID) -> tuple[TaskEvent, ...]:
    if owner_id == task.owner_id:
        return ()
    return (
        TaskReassigned(
            task_id=task.task_id,
            customer_id=task.customer_id,
            owner_id=owner_id,
            was_owner_id=task.owner_id,
        ),
    )


def _still_open(state: Task | None) -> Task:
    if state is None:
        raise TaskUnknown
    if state.done:
        raise TaskNotOpen
    return state
