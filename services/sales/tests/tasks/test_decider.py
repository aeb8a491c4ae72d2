"""The rules about tasks: given what happened, when a command comes, then this follows."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from crm_events.sales import (
    DealLost,
    DealRotted,
    DealStageChanged,
    DealWon,
    TaskDone,
    TaskOpened,
    TaskReassigned,
)
from sales.tasks.decider import (
    TASKS,
    CloseTask,
    FinishTask,
    Kind,
    OpenTask,
    Reason,
    ReassignTask,
    TaskAlreadyOpened,
    TaskNotOpen,
    TaskUnknown,
)
from sales.tasks.follow_up import follow_up
from sales.tasks.notice import notice
from told import ANN, DAY, DEAL, NOW, OTHER, OWNER, TASK, Logged, euros, logged, opened

OF = {"task_id": TASK, "customer_id": ANN}
OPEN = OpenTask(TASK, ANN, DEAL, OWNER, Kind.ROTTING_DEAL, DAY)
OPENED = TaskOpened(**OF, deal_id=DEAL, owner_id=OWNER, kind="rotting-deal", due_on=DAY)
GIVEN = TaskReassigned(**OF, owner_id=OTHER, was_owner_id=OWNER)
DONE = TaskDone(**OF)
CLOSE = CloseTask(Reason.DEAL_WON)
ABOUT = {"deal_id": DEAL, "customer_id": ANN}
ROTTED = DealRotted(**ABOUT, owner_id=OWNER, pipeline="short", stage="lead", since=NOW)
MOVED = DealStageChanged(**ABOUT, pipeline="short", from_stage="lead", stage="offer")


def given(*events):
    state = TASKS.initial
    for event in events:
        state = TASKS.evolve(state, event, NOW)
    return state


@pytest.mark.parametrize(
    ("happened", "command", "follows"),
    [
        ((), OPEN, (OPENED,)),
        ((OPENED,), FinishTask(), (DONE,)),
        ((OPENED,), ReassignTask(OTHER), (GIVEN,)),
        ((OPENED,), ReassignTask(OWNER), ()),
        ((OPENED, GIVEN), ReassignTask(OTHER), ()),
        ((OPENED,), CLOSE, (TaskDone(**OF, reason="deal-won"),)),
        ((OPENED, DONE), CLOSE, ()),
        ((), CLOSE, ()),
    ],
)
def test_a_task_is_opened_given_to_another_and_done_or_closed(happened, command, follows):
    assert TASKS.decide(command, given(*happened)) == follows


@pytest.mark.parametrize(
    ("happened", "command", "refusal"),
    [
        ((OPENED,), OPEN, TaskAlreadyOpened),
        ((), FinishTask(), TaskUnknown),
        ((), ReassignTask(OTHER), TaskUnknown),
        ((OPENED, DONE), FinishTask(), TaskNotOpen),
        ((OPENED, DONE), ReassignTask(OTHER), TaskNotOpen),
    ],
)
def test_what_cannot_be_done_with_a_task_is_refused_by_name(happened, command, refusal):
    with pytest.raises(refusal):
        TASKS.decide(command, given(*happened))


def test_for_a_deal_that_rots_its_owner_has_a_task_for_the_next_day_of_the_company():
    evening = Logged(ROTTED, 11 * 60)  # 23:00 UTC is the next day there

    first, again = (follow_up(ZoneInfo("Europe/Berlin")).follows(evening) for _ in range(2))

    [directive] = first
    assert first == again
    assert directive.command.task_id == directive.stream_id
    assert (directive.command.owner_id, directive.command.kind) == (OWNER, "rotting-deal")
    assert str(directive.command.due_on) == "2026-05-06"


@pytest.mark.parametrize(
    ("goes_on", "reason"),
    [
        (MOVED, "deal-moved"),
        (DealWon(**ABOUT, amount=euros("9"), won_on=DAY), "deal-won"),
        (DealLost(**ABOUT, reason="price"), "deal-lost"),
    ],
)
def test_a_deal_that_goes_on_closes_what_was_opened_for_it_until_then(goes_on, reason):
    reaction = follow_up(ZoneInfo("Europe/Berlin"))
    stream = logged(opened(), ROTTED, MOVED, ROTTED, goes_on, ROTTED)
    first, second = (reaction.follows(stream[place])[0] for place in (1, 3))

    closed = reaction.follows(stream[4], stream)

    assert [one.stream_id for one in closed] == [first.stream_id, second.stream_id]
    assert {one.command for one in closed} == {CloseTask(Reason(reason))}
    assert reaction.follows(stream[2], stream[:1]) == ()


def test_the_mail_about_a_task_is_its_owners_and_says_nothing_personal():
    [mail] = notice.follows(Logged(OPENED))

    assert (mail.to, mail.subject, mail.transactional) == (str(OWNER), "A deal rots: call", True)
    assert all(str(told) in mail.text for told in (DEAL, ANN, TASK, DAY))
