"""Follow-up: what the owner of a deal that rots is to do, until the deal goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from crm_deciding.decider import Directive, opened_by
from crm_deciding.reaction import Reaction
from crm_events.sales import DealLost, DealRotted, DealStageChanged, DealWon

from sales.tasks.decider import TASKS, CloseTask, Kind, OpenTask, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import tzinfo

    from crm_store.log.logged import LoggedEvent

FOLLOW_UP: Final = UUID("5e0d3a86-4c3b-5f0e-8b52-3f5d9c1a7e64")
DUE_AFTER: Final = timedelta(days=1)
REASONS: Final = {
    DealStageChanged.type: Reason.DEAL_MOVED,
    DealWon.type: Reason.DEAL_WON,
    DealLost.type: Reason.DEAL_LOST,
}


def follow_up(time_zone: tzinfo) -> Reaction:
    """Due on the day after the deal was found to rot; days are those of the company's zone."""
    reaction = Reaction("follow-up", FOLLOW_UP)

    @reaction.on(DealRotted)
    def open_task(logged: LoggedEvent[DealRotted]) -> Iterable[Directive[Any, Any]]:
        event, task_id = logged.event, opened_by(FOLLOW_UP, logged)
        command = OpenTask(
            task_id=task_id,
            customer_id=event.customer_id,
            deal_id=event.deal_id,
            owner_id=event.owner_id,
            kind=Kind.ROTTING_DEAL,
            due_on=logged.occurred_at.astimezone(time_zone).date() + DUE_AFTER,
        )
        return [Directive(TASKS, task_id, command)]

    @reaction.on_stream(DealStageChanged, DealWon, DealLost)
    def close_tasks(
        logged: LoggedEvent[Any], before: Sequence[LoggedEvent[Any]]
    ) -> Iterable[Directive[Any, Any]]:
        """What takes the mark from a deal that rotted closes what was to be done about it."""
        command = CloseTask(REASONS[logged.type])
        return [
            Directive(TASKS, opened_by(FOLLOW_UP, one), command)
            for one in before
            if one.type == DealRotted.type
        ]

    return reaction
