"""Read models as pure folds: from events, and from the contract's golden examples."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from typing import get_args
from uuid import UUID

import pytest
from crm_events.contacts import (
    Identifier,
    LinkReason,
    MemberChanged,
    MemberDeactivated,
    MemberReactivated,
    MemberRegistered,
    Namespace,
    PersonChanged,
    PersonLinked,
    PersonRegistered,
    PersonUnlinked,
)
from crm_events.examples import MEMBER, TEST_KEYS, load
from crm_events.personal import ERASED
from crm_events.sales import (
    DealAmountChanged,
    DealCloseDateChanged,
    DealLost,
    DealProduct,
    DealProductsChanged,
    DealReassigned,
    DealReopened,
    DealRotted,
    DealStageChanged,
    DealWon,
    TaskDone,
    TaskOpened,
    TaskReassigned,
)
from crm_events.sealing import read
from crm_events.topics import CONTRACT, DEALS, HEARD_BY, MEMBERS, PEOPLE, TASKS
from sales.accounts.directory import LONGEST_NAME, account, accounts
from sales.bootstrap import READ_MODELS
from sales.deals.deal import DealEvent, evolve
from sales.deals.pipeline import deal, deal_as_of, pipeline
from sales.members.directory import member, members
from sales.tasks.todo import TaskRow, todo
from told import ANN, BOB, DAY, DEAL, NOW, OTHER, OWNER, TASK, Logged, euros, folded, logged, opened

OF = {"deal_id": DEAL, "customer_id": ANN}
CUPS = DealProduct(product_id="cup", quantity=2, unit_price=euros(10), amount=euros(20))
MOVED = DealStageChanged(**OF, pipeline="short", from_stage="lead", stage="offer")
ROTTED = DealRotted(**OF, owner_id=OTHER, pipeline="short", stage="lead", since=NOW)
WON = DealWon(**OF, amount=euros(90), won_on=DAY)
LOST = DealLost(**OF, reason="price", note="too dear")
STORY = logged(
    opened(amount=euros(100)),
    MOVED,
    DealAmountChanged(**OF, amount=euros(110)),
    DealCloseDateChanged(**OF, expected_close=DAY),
    DealProductsChanged(**OF, products=(CUPS,), amount=euros(20)),
    LOST,
    DealReassigned(**OF, owner_id=OTHER, was_owner_id=UUID(int=0xB0B)),
    DealReopened(**OF, stage="lead"),
    ROTTED,
    WON,
)
FOR = {"task_id": TASK, "customer_id": ANN}
CALL = TaskOpened(**FOR, deal_id=DEAL, owner_id=OWNER, kind="rotting-deal", due_on=DAY)
MAIL = Identifier(namespace=Namespace.MAIL, value="a@x.test", given="a@x.test")


def minute(number):
    return NOW + timedelta(minutes=number)


def after(count):
    """The deal's row after so many of its events."""
    return folded(pipeline, STORY[:count])[(DEAL,)]


def registered(**profile):
    return PersonRegistered(customer_id=ANN, identifiers=(MAIL,), profile=profile)


def changed(**profile):
    return PersonChanged(customer_id=ANN, fields=("other",), profile=profile)


def called(*events):
    [row] = folded(accounts, logged(*events)).values()
    return row.name


def test_an_opened_deal_stands_in_its_stage():
    row = after(1)

    assert (row.deal_id, row.version, row.customer_id) == (DEAL, 1, ANN)
    assert (row.title, row.pipeline, row.stage, row.status) == ("Cups", "short", "lead", "open")
    assert (row.amount, row.currency) == (Decimal(100), "EUR")
    assert row.opened_at == row.stage_since == minute(0)


def test_a_deal_is_in_its_stage_since_it_moved_there():
    assert (after(2).stage, after(2).stage_since) == ("offer", minute(1))


def test_a_deal_has_the_amount_and_day_last_told():
    assert (after(3).amount, after(3).currency) == (Decimal(110), "EUR")
    assert after(4).expected_close == DAY


def test_products_bring_their_sum():
    row = after(5)

    assert row.amount == Decimal(20)
    assert row.products == [
        {
            "product_id": "cup",
            "quantity": "2",
            "unit_price": {"amount": "10", "currency": "EUR"},
            "amount": {"amount": "20", "currency": "EUR"},
        }
    ]


def test_a_lost_deal_says_why_and_when():
    row = after(6)

    assert (row.status, row.loss_reason, row.loss_note) == ("lost", "price", "too dear")
    assert row.closed_at == minute(5)


def test_a_deal_belongs_to_its_newest_owner():
    assert after(7).owner_id == OTHER


def test_a_reopened_deal_says_nothing_of_its_end():
    row = after(8)

    assert (row.status, row.stage, row.stage_since) == ("open", "lead", minute(7))
    assert (row.closed_at, row.loss_reason, row.loss_note) == (None, None, None)


def test_a_deal_that_rotted_is_marked_until_it_moves_or_ends():
    moved = folded(pipeline, [*STORY[:9], Logged(MOVED, 9)])[(DEAL,)]

    assert (after(9).rotted_at, after(9).version) == (minute(8), 9)
    assert (moved.rotted_at, after(10).rotted_at) == (None, None)


def test_a_won_deal_says_for_what_and_when():
    row = after(10)

    assert (row.status, row.amount, row.won_on) == ("won", Decimal(90), DAY)
    assert (row.closed_at, row.version) == (minute(9), 10)


def test_a_deal_that_was_never_opened_has_no_row():
    assert folded(pipeline, STORY[1:]) == {}


@pytest.mark.parametrize("count", range(1, len(STORY) + 1))
def test_a_deal_as_of_an_instant_is_what_had_happened_by_then(count):
    assert deal_as_of(STORY, minute(count - 1)) == after(count)


def test_before_it_was_opened_there_was_no_deal():
    assert deal_as_of(STORY, NOW - timedelta(microseconds=1)) is None


def test_what_was_erased_is_absent():
    row = folded(
        pipeline, logged(opened(title=ERASED), DealLost(**OF, reason="price", note=ERASED))
    )[(DEAL,)]

    assert (row.title, row.loss_note) == (None, None)
    assert called(PersonRegistered(customer_id=ANN, identifiers=(), profile=ERASED)) is None


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ({"name": "Ann Example", "firstName": "Anna"}, "Ann Example"),
        ({"firstName": "Ann", "lastName": "Example", "company": "Acme"}, "Ann Example"),
        ({"lastName": "Example"}, "Example"),
        ({"company": " Acme "}, "Acme"),
        ({"name": " ", "company": "Acme"}, "Acme"),
        ({"name": {"first": "Ann"}, "firstName": 7}, None),
        ({"name": "x" * 301}, "x" * LONGEST_NAME),
        ({"email": "a@x.test"}, None),
    ],
)
def test_an_account_is_called_what_its_profile_says(profile, name):
    assert called(registered(**profile)) == name


def test_an_account_takes_a_new_name_and_keeps_what_is_not_told():
    assert called(registered(firstName="Ann", lastName="A"), changed(lastName="B")) == "Ann B"
    assert called(registered(name="Ann"), changed(name=None, company="Acme")) == "Acme"
    assert called(registered(name="Ann"), changed(shoe_size=39)) == "Ann"


def test_an_account_is_linked_and_freed():
    linked = PersonLinked(customer_id=ANN, into=BOB, reason=LinkReason.STATED)
    events = logged(registered(name="Ann"), linked, PersonUnlinked(customer_id=ANN, was_into=BOB))

    assert folded(accounts, events[:2])[(ANN,)].linked_into == BOB
    assert folded(accounts, events)[(ANN,)] == folded(accounts, events[:1])[(ANN,)]


def test_a_task_is_its_owners_until_it_is_done():
    entries = logged(
        CALL, TaskReassigned(**FOR, owner_id=OTHER, was_owner_id=OWNER), TaskDone(**FOR)
    )

    opened, given, done = (folded(todo, entries[:count])[(TASK,)] for count in (1, 2, 3))

    assert opened == TaskRow(TASK, 1, ANN, DEAL, OWNER, "rotting-deal", DAY, minute(0))
    assert (given.owner_id, given.version, given.done_at) == (OTHER, 2, None)
    assert (done.owner_id, done.version, done.done_at) == (OTHER, 3, minute(2))


def test_a_task_that_is_closed_says_why():
    rows = folded(todo, logged(CALL, TaskDone(**FOR, reason="deal-won")))

    assert (rows[(TASK,)].done_at, rows[(TASK,)].reason) == (minute(1), "deal-won")


def test_a_member_has_the_name_and_mail_last_told_and_may_leave_and_come_back():
    of = {"member_id": OWNER}
    entries = logged(
        MemberRegistered(**of, name="Bob", mail="bob@shop.test"),
        MemberChanged(**of, fields=("mail",), mail="b@shop.test"),
        MemberDeactivated(**of),
        MemberReactivated(**of),
        MemberChanged(**of, fields=("name", "mail"), name=ERASED, mail=ERASED),
    )

    rows = [folded(members, entries[: count + 1])[(OWNER,)] for count in range(5)]

    assert [(row.name, row.mail, row.active) for row in rows] == [
        ("Bob", "bob@shop.test", True),
        ("Bob", "b@shop.test", True),
        ("Bob", "b@shop.test", False),
        ("Bob", "b@shop.test", True),
        (None, None, True),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_topics_may_come_in_any_order_against_each_other(seed):
    people = logged(registered(name="Ann"), changed(name="Bea"))
    bob = logged(
        MemberRegistered(member_id=OWNER, name="Bob", mail="bob@shop.test"),
        MemberDeactivated(member_id=OWNER),
    )
    tasks = logged(CALL, TaskDone(**FOR))
    topics = [list(people), list(STORY), list(bob), list(tasks)]
    dice, shuffled = random.Random(seed), []  # noqa: S311
    while any(topics):
        shuffled.append(dice.choice([topic for topic in topics if topic]).pop(0))

    for model in READ_MODELS:
        assert folded(model, shuffled) == folded(model, [*people, *STORY, *bob, *tasks])
        assert folded(model, shuffled)


def test_every_column_with_opened_values_says_whose_they_are():
    for table, told, whose in (
        (account, {"told", "name"}, "customer_id"),
        (deal, {"title", "loss_note"}, "customer_id"),
        (member, {"name", "mail"}, "member_id"),
    ):
        named = {column.name for column in table.columns if column.info.get("personal")}
        assert named == told
        assert {table.columns[name].info["personal"] for name in named} == {whose}


def test_everything_that_sales_publishes_is_folded_and_of_people_what_names_and_links_them():
    assert {event.type for event in DEALS.events} == set(pipeline.types)
    assert {event.type for event in TASKS.events} == set(todo.types)
    assert {event.type for event in MEMBERS.events} == set(members.types)
    assert HEARD_BY["sales"] == (PEOPLE, MEMBERS)
    assert {event.type for event in PEOPLE.events} - set(accounts.types) == {
        "contacts.person.identified"
    }


@pytest.mark.parametrize("event", get_args(DealEvent), ids=lambda one: one.type)
@pytest.mark.parametrize("is_opened", [True, False], ids=["opened", "sealed"])
def test_every_golden_example_of_a_deal_is_folded_and_evolves_one(event, is_opened):
    recorded = load(event.type).recorded()
    told = read(recorded, CONTRACT, TEST_KEYS if is_opened else None)
    before = opened(deal_id=recorded.stream_id, customer_id=recorded.partition_key)

    [row] = folded(pipeline, logged(before, told)).values()

    assert (row.deal_id, row.customer_id) == (recorded.stream_id, recorded.partition_key)
    assert evolve(evolve(None, before, NOW), told, NOW) is not None


@pytest.mark.parametrize("kind", accounts.types)
def test_every_golden_example_of_people_is_folded(kind):
    recorded = load(kind).recorded()
    before = PersonRegistered(
        customer_id=recorded.partition_key, identifiers=(MAIL,), profile={"name": "Ann"}
    )

    [row] = folded(
        accounts, [Logged(before), Logged(read(recorded, CONTRACT, TEST_KEYS), 1)]
    ).values()

    assert row.customer_id == recorded.partition_key


@pytest.mark.parametrize("model", [members, todo], ids=lambda one: one.name)
def test_every_golden_example_of_members_and_tasks_is_folded(model):
    before = {
        members.name: MemberRegistered(member_id=UUID(MEMBER), name="Bob", mail="bob@shop.test"),
        todo.name: CALL,
    }[model.name]
    for kind in model.types:
        entries = logged(before, read(load(kind).recorded(), CONTRACT, TEST_KEYS))
        entries[1].stream_id = entries[0].stream_id

        [row] = folded(model, entries).values()

        assert row is not None
