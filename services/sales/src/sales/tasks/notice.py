"""Notice: whoever a task is opened for or given to gets a mail, if it is still to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from crm_deciding.effects.effect import Effect
from crm_deciding.effects.intent import Mail, Withdrawal
from crm_events.sales import TaskDone, TaskOpened, TaskReassigned

from sales.tasks.decider import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crm_deciding.effects.intent import Message
    from crm_store.log.logged import LoggedEvent

SUBJECTS: Final = {Kind.ROTTING_DEAL: "A deal rots: call"}
TEXT: Final = """\
{reason}

Deal: {deal_id}
Customer: {customer_id}
Task: {task_id}
Due: {due_on}
"""
GIVEN_SUBJECT: Final = "A task is yours now"
GIVEN_TEXT: Final = """\
A task that a colleague had is yours now.

Customer: {customer_id}
Task: {task_id}
"""
REASONS: Final = {
    Kind.ROTTING_DEAL: "A deal of yours has stood in its stage for longer than its pipeline "
    "allows.\nCall the customer, then move the deal on or close it."
}

notice: Final = Effect("notice", UUID("c1f6b0de-27c5-5d1c-9a0e-54d5d7c7a8b2"))


@notice.on(TaskOpened)
def tell_owner(logged: LoggedEvent[TaskOpened]) -> Iterable[Message]:
    """Nothing of it is personal: who the customer is, the owner sees in the app."""
    event = logged.event
    kind = Kind(event.kind)
    text = TEXT.format(
        reason=REASONS[kind],
        deal_id=event.deal_id,
        customer_id=event.customer_id,
        task_id=event.task_id,
        due_on=event.due_on,
    )
    return [Mail(str(event.owner_id), SUBJECTS[kind], text)]


@notice.on(TaskReassigned)
def tell_new_owner(logged: LoggedEvent[TaskReassigned]) -> Iterable[Message | Withdrawal]:
    """A mail to the one before, if it still waits, is about a task of somebody else by now."""
    event = logged.event
    text = GIVEN_TEXT.format(customer_id=event.customer_id, task_id=event.task_id)
    return [Withdrawal(), Mail(str(event.owner_id), GIVEN_SUBJECT, text)]


@notice.on(TaskDone)
def keep_back(_: LoggedEvent[TaskDone]) -> Iterable[Withdrawal]:
    return [Withdrawal()]
