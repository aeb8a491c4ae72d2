"""Tasks from a deal that rots to the mail about it, and over HTTP, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from crm_deciding.draft import Cause, Draft
from crm_deciding.effects.sending import Sender
from crm_events.contacts import MemberChanged, MemberDeactivated, MemberRegistered
from crm_store.ids import new_id
from receiving import smtp_receiver
from sales.bootstrap import channels_of, following_of, timers_of
from sales.tasks.decider import TASKS, Kind, OpenTask
from summing import HeldLease
from told import ANN, DAY, DEAL, NOW, OTHER, OWNER

SUM = {"amount": "9", "currency": "EUR"}
BOB = {"member_id": OWNER}
FAR = timedelta(days=365 * 200)
"""Whatever is due by then: PostgreSQL's own clock says since when a message is."""


@dataclass
class Office:
    """Sales with a mail server, and those that decide by themselves."""

    sales: Any
    settings: Any
    lease: Any
    mailbox: Any

    async def follow(self):
        following = following_of(self.settings, self.sales.core, self.lease)
        while await following.turn():
            pass

    async def ring(self):
        timers = timers_of(self.settings, self.sales.core, self.lease)
        while await timers.turn():
            pass

    async def send(self):
        self.sales.now[0] += FAR
        async with httpx.AsyncClient() as client:
            await Sender(
                pool=self.sales.pool,
                channels=channels_of(self.settings, self.sales.core, client),
                lease=self.lease,
                owner="one",
                clock=self.sales.core.clock,
            ).turn()

    async def outcomes(self):
        rows = await self.sales.pool.fetch("select state, outcome from intent")
        return [tuple(row) for row in rows]


@pytest.fixture
async def office(sales):
    with smtp_receiver() as mailbox:
        mail = {
            "smtp_host": "127.0.0.1",
            "smtp_port": mailbox.port,
            "smtp_security": "none",
            "smtp_sender": "kith@shop.test",
        }
        settings = sales.settings.model_copy(update=mail)
        office = Office(sales, settings, HeldLease(), mailbox)
        await office.follow()
        yield office


async def rotten(office):
    """A deal that has stood in its stage for too long; its path."""
    deal = await office.sales.open(await office.sales.customer())
    office.sales.now[0] += timedelta(days=10)
    await office.ring()
    return deal


async def listed(sales, **parameters):
    await sales.fold()
    answer = await sales.http.get("/tasks", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_for_a_deal_that_rots_one_task_is_opened_and_one_mail_comes(office):
    await office.sales.hear(
        MemberRegistered(**BOB, name="Bob", mail="bob@shop.test"),
        MemberChanged(**BOB, fields=("mail",), mail="b@shop.test"),
    )
    deal = await rotten(office)

    for _ in range(2):
        await office.ring()
        await office.follow()
    [task] = await listed(office.sales)
    for _ in range(2):
        await office.send()

    assert (task["deal_id"], task["owner_id"]) == (deal.removeprefix("/deals/"), str(OWNER))
    assert (task["kind"], task["due_on"], task["done_at"]) == ("rotting-deal", "2026-05-15", None)
    [(recipients, mail)] = office.mailbox.came
    assert (recipients, mail["Subject"]) == (["b@shop.test"], "A deal rots: call")
    assert task["task_id"] in mail.get_payload()


async def test_an_owner_who_is_deactivated_or_unknown_gets_no_mail_and_it_is_told_why(office):
    await rotten(office)
    await office.follow()

    await office.send()
    unknown = await office.outcomes()
    await office.sales.hear(
        MemberRegistered(**BOB, name="Bob", mail="bob@shop.test"), MemberDeactivated(**BOB)
    )
    await office.sales.fold()
    await office.send()

    assert unknown == [("waiting", "contacts has not told of this member")]
    assert await office.outcomes() == [("failed", "the member is deactivated")]
    assert office.mailbox.came == []


async def test_a_task_that_is_done_or_given_away_before_its_mail_could_go_is_not_written_about(
    office,
):
    await rotten(office)
    await rotten(office)
    await office.follow()
    await office.send()
    before = await office.outcomes()
    done, given = [f"/tasks/{one['task_id']}" for one in await listed(office.sales)]

    await office.sales.http.post(f"{done}/done", json={})
    await office.sales.http.post(f"{given}/owner", json={"owner_id": str(OTHER)})
    await office.follow()
    await office.sales.hear(
        MemberRegistered(**BOB, name="Bob", mail="bob@shop.test"),
        MemberRegistered(member_id=OTHER, name="Eve", mail="eve@shop.test"),
    )
    await office.sales.fold()
    await office.send()

    assert before == [("waiting", "contacts has not told of this member")] * 2
    assert sorted(state for state, _ in await office.outcomes()) == [
        "sent",
        "withdrawn",
        "withdrawn",
    ]
    [(recipients, mail)] = office.mailbox.came
    assert (recipients, mail["Subject"]) == (["eve@shop.test"], "A task is yours now")
    assert given.removeprefix("/tasks/") in mail.get_payload()


async def test_a_deal_that_goes_on_closes_its_open_tasks_once_and_says_why(office):
    sales = office.sales
    customer, terms = await sales.customer(), {"expected_close": str(DAY), "amount": SUM}
    moved, won, lost, done = [await sales.open(customer, **terms) for _ in range(4)]
    sales.now[0] += timedelta(days=10)
    await office.ring()
    await office.follow()
    tasks = {f"/deals/{one['deal_id']}": one["task_id"] for one in await listed(sales)}
    await sales.http.post(f"/tasks/{tasks[done]}/done", json={})
    [before] = await listed(sales, open=False)

    sales.now[0] += timedelta(hours=1)
    for path, told in (
        (f"{moved}/stage", {"stage": "offer"}),
        (f"{won}/won", {"won_on": str(DAY)}),
        (f"{lost}/lost", {"reason": "price"}),
        (f"{done}/won", {"won_on": str(DAY)}),
        (f"{won}/reopened", {}),
    ):
        answer = await sales.http.post(path, json=told)
        assert answer.status_code == 200, answer.text
    for _ in range(2):
        await office.follow()

    closed = {one["task_id"]: one for one in await listed(sales, open=False)}
    reasons = [closed[tasks[deal]]["reason"] for deal in (moved, won, lost, done)]
    assert reasons == ["deal-moved", "deal-won", "deal-lost", None]
    assert [one["version"] for one in closed.values()] == [2] * 4
    assert closed[tasks[done]] == before
    assert await listed(sales, open=True) == []
    assert await sales.pool.fetchval("select count(*) from refused_command") == 0


async def task(sales, number, **fields):
    """A task that is opened; its path."""
    task_id = UUID(int=number)
    told = {"deal_id": DEAL, "owner_id": OWNER, "due_on": DAY, **fields}
    command = OpenTask(task_id=task_id, customer_id=ANN, kind=Kind.ROTTING_DEAL, **told)
    draft = await Draft.on(sales.core.log, mint_id=new_id)
    await draft.apply(TASKS, task_id, command, cause=Cause(NOW))
    await sales.core.log.append(epoch=draft.epoch, streams=draft.appends)
    return f"/tasks/{task_id}"


def problem(answer):
    return answer.status_code, answer.json()["type"].removeprefix("urn:kith:problem:")


async def test_tasks_are_listed_by_owner_those_that_are_due_first(sales):
    for number, fields in enumerate(
        ({"due_on": DAY + timedelta(days=2)}, {}, {"owner_id": OTHER}), 1
    ):
        await task(sales, number, **fields)
    await sales.http.post(f"/tasks/{UUID(int=2)}/done", json={})

    async def numbers(**parameters):
        return [UUID(one["task_id"]).int for one in await listed(sales, **parameters)]

    assert await numbers() == [2, 3, 1]
    assert await numbers(owner_id=str(OWNER)) == [2, 1]
    assert await numbers(owner_id=str(OWNER), open=True) == [1]
    assert await numbers(open=False) == [2]
    assert await numbers(due_by=str(DAY), open=True) == [3]
    assert await numbers(deal_id=str(new_id())) == []
    first = (await sales.http.get("/tasks", params={"limit": 2})).json()
    assert await numbers(cursor=first["next"]) == [1]


async def test_a_task_is_done_once_and_given_to_another_by_what_its_reader_saw(sales):
    path = await task(sales, 1)
    await sales.fold()
    seen = (await sales.http.get(path)).headers["ETag"]
    key = {"Idempotency-Key": "k1", "If-Match": seen}

    given = await sales.http.post(f"{path}/owner", json={"owner_id": str(OTHER)}, headers=key)
    again = await sales.http.post(f"{path}/owner", json={"owner_id": str(OTHER)}, headers=key)
    late = await sales.http.post(f"{path}/done", json={}, headers={"If-Match": seen})
    done = await sales.http.post(f"{path}/done", json={})

    assert (given.status_code, given.json()) == (200, again.json())
    assert late.status_code == 412
    assert (done.status_code, done.json()["version"]) == (200, 3)
    assert problem(await sales.http.post(f"{path}/done", json={})) == (409, "task-not-open")
    unknown = f"/tasks/{UUID(int=9)}"
    assert problem(await sales.http.post(f"{unknown}/done", json={})) == (404, "task-unknown")
    assert problem(await sales.http.get(unknown)) == (404, "task-unknown")
    [row] = await listed(sales)
    assert (row["owner_id"], row["version"]) == (str(OTHER), 3)
    assert row["done_at"] is not None
