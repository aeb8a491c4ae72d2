"""Read models as pure folds: from events, and from the contract's golden examples."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

import pytest
from contacts.bootstrap import READ_MODELS
from contacts.customer_file.deals import deal, deals
from contacts.customer_file.scores import Score, scores, summed
from contacts.members.directory import member, members
from contacts.people.decider import NOBODY, PersonEvent, evolve
from contacts.people.directory import directory, person
from contacts.timeline.timeline import timeline, timeline_entry
from crm_events.analytics import ScoreMoved
from crm_events.contacts import (
    EventTracked,
    Identifier,
    LinkReason,
    MemberChanged,
    MemberDeactivated,
    MemberReactivated,
    MemberRegistered,
    Namespace,
    OrderCompleted,
    PersonChanged,
    PersonIdentified,
    PersonLinked,
    PersonRegistered,
    PersonUnlinked,
)
from crm_events.examples import TEST_KEYS, load
from crm_events.money import Money
from crm_events.personal import ERASED, SEALED
from crm_events.sales import (
    DealAmountChanged,
    DealCloseDateChanged,
    DealLost,
    DealOpened,
    DealProductsChanged,
    DealReassigned,
    DealReopened,
    DealRotted,
    DealStageChanged,
    DealWon,
)
from crm_events.sealing import read
from crm_events.topics import ACTIVITY, CONTRACT, DEALS, MEMBERS, PEOPLE, PURCHASES, SCORES

ANN, BOB, BEA = UUID(int=1), UUID(int=2), UUID(int=0xBEA)
DEAL = {"deal_id": UUID(int=0xDEA1), "customer_id": ANN}
DAY = date(2026, 6, 1)
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MAIL = Identifier(namespace=Namespace.MAIL, value="a@x.test", given="A@x.test")
USER = Identifier(namespace=Namespace.USER, value="u", given="u")
TOLD = (PEOPLE, ACTIVITY, PURCHASES, MEMBERS, SCORES, DEALS)
HEARD = {event for topic in TOLD for event in topic.events}


class Logged:
    """An event as folds meet it."""

    def __init__(self, event, number, customer_id=ANN, stream_id=None):
        self.event = event
        self.type = event.type
        self.event_id = uuid5(ANN, str(number))
        self.partition_key = customer_id
        self.stream_id = stream_id or customer_id
        self.stream_version = number + 1
        self.occurred_at = self.recorded_at = NOW + timedelta(minutes=number)
        self.key = ()


def folded(model, events):
    rows = {}
    model.fold_into(rows, [one for one in events if one.type in model.types])
    return rows


PEOPLE_TOLD = [
    Logged(PersonRegistered(customer_id=ANN, identifiers=(MAIL,), profile={"name": "A"}), 0),
    Logged(PersonChanged(customer_id=ANN, fields=("name",), profile={"name": "B", "x": 1}), 1),
    Logged(PersonIdentified(customer_id=ANN, identifier=USER), 2),
    Logged(PersonLinked(customer_id=ANN, into=BOB, reason=LinkReason.STATED), 3),
    Logged(PersonChanged(customer_id=ANN, fields=("other",), profile={"x": None}), 4),
]
HITS = [
    Logged(EventTracked(customer_id=ANN, message_id=str(n), source="s", name="Clicked"), 10 + n)
    for n in range(3)
]
ORDERS = [
    Logged(
        OrderCompleted(
            customer_id=ANN,
            message_id=str(n),
            source="s",
            order_id=str(n),
            total=Money(amount=n, currency="EUR"),
        ),
        20 + n,
    )
    for n in range(3)
]
MOVES = [
    Logged(
        ScoreMoved(
            customer_id=ANN,
            model="engagement",
            model_version=1,
            s=float(n),
            s_negative=None,
            landmark=NOW,
            half_life_seconds=60.0,
            counted=n,
            last_fact_at=NOW,
        ),
        30 + n,
    )
    for n in range(3)
]

JOINED = [
    Logged(event, number, BEA)
    for number, event in enumerate(
        [
            MemberRegistered(member_id=BEA, name="Bea", mail="bea@kith.test"),
            MemberChanged(member_id=BEA, fields=("mail",), mail="b@kith.test"),
            MemberDeactivated(member_id=BEA),
            MemberReactivated(member_id=BEA),
            MemberChanged(member_id=BEA, fields=("name", "mail"), name="B", mail=ERASED),
        ]
    )
]
DEALT = [
    Logged(event, 40 + number, stream_id=DEAL["deal_id"])
    for number, event in enumerate(
        [
            DealOpened(
                **DEAL,
                pipeline="sales",
                stage="lead",
                title="Cups",
                amount=None,
                expected_close=None,
                owner_id=BEA,
            ),
            DealAmountChanged(**DEAL, amount=Money(amount=90, currency="EUR")),
            DealStageChanged(**DEAL, pipeline="sales", from_stage="lead", stage="offer"),
            DealCloseDateChanged(**DEAL, expected_close=DAY),
            DealLost(**DEAL, reason="price", note="too dear"),
            DealReopened(**DEAL, stage="lead"),
            DealReassigned(**DEAL, owner_id=BOB, was_owner_id=BEA),
            DealProductsChanged(**DEAL, products=(), amount=None),
            DealWon(**DEAL, amount=Money(amount=80, currency="EUR"), won_on=DAY),
        ]
    )
]


def deal_after(count):
    return folded(deals, DEALT[:count])[(DEAL["deal_id"],)]


def test_a_row_of_the_directory_follows_its_person():
    [row] = folded(directory, PEOPLE_TOLD).values()

    assert row.profile == {"name": "B"}
    assert [one["given"] for one in row.identifiers] == ["A@x.test", "u"]
    assert (row.linked_into, row.link_reason) == (BOB, "stated")
    assert row.linked_at == NOW + timedelta(minutes=3)


def test_a_row_of_the_members_follows_its_member():
    rows = [folded(members, JOINED[:count])[(BEA,)] for count in range(1, 6)]

    assert [row.version for row in rows] == [1, 2, 3, 4, 5]
    assert [row.active for row in rows] == [True, True, False, True, True]
    assert [row.name for row in rows] == ["Bea"] * 4 + ["B"]
    assert [row.mail for row in rows] == ["bea@kith.test"] + ["b@kith.test"] * 3 + [None]
    assert rows[4].registered_at == NOW
    assert rows[4].changed_at == NOW + timedelta(minutes=4)


def test_a_row_of_the_deals_follows_its_deal():
    rows = [deal_after(count) for count in range(1, 10)]

    assert {(row.customer_id, row.title, row.pipeline) for row in rows} == {(ANN, "Cups", "sales")}
    assert [row.stage for row in rows] == ["lead"] * 2 + ["offer"] * 3 + ["lead"] * 4
    assert [row.status for row in rows] == ["open"] * 4 + ["lost"] + ["open"] * 3 + ["won"]
    assert [row.amount for row in rows] == [None] + [Decimal(90)] * 6 + [None, Decimal(80)]
    assert [row.currency for row in rows] == [None] + ["EUR"] * 6 + [None, "EUR"]
    assert [row.expected_close for row in rows] == [None] * 3 + [DAY] * 6
    assert [row.owner_id for row in rows] == [BEA] * 6 + [BOB] * 3
    assert [row.loss_reason for row in rows] == [None] * 4 + ["price"] + [None] * 4
    assert {row.opened_at for row in rows} == {DEALT[0].occurred_at}
    assert [row.changed_at for row in rows] == [one.occurred_at for one in DEALT]


def test_a_deal_that_rots_is_marked_until_it_moves():
    since = DEALT[0].occurred_at
    told = DealRotted(**DEAL, owner_id=BEA, pipeline="sales", stage="lead", since=since)
    rots = Logged(told, 41, stream_id=DEAL["deal_id"])

    marked, moved = (
        folded(deals, [DEALT[0], rots, *later])[(DEAL["deal_id"],)] for later in ([], [DEALT[2]])
    )

    assert (marked.stage, marked.rotted_at) == ("lead", rots.occurred_at)
    assert (moved.stage, moved.rotted_at) == ("offer", None)


def test_the_timeline_tells_when_a_deal_was_opened_moved_won_and_lost():
    entries = folded(timeline, DEALT).values()

    assert [(one.type.removeprefix("sales.deal."), one.title, one.amount) for one in entries] == [
        ("opened", "lead", None),
        ("stage-changed", "offer", None),
        ("lost", "price", None),
        ("reopened", "lead", None),
        ("won", None, Decimal(80)),
    ]
    told = {name: value for one in entries for name, value in one.detail.items()}
    assert told == {
        "deal_id": str(DEAL["deal_id"]),
        "pipeline": "sales",
        "title": "Cups",
        "from_stage": "lead",
        "note": "too dear",
        "won_on": "2026-06-01",
    }


def test_a_deal_that_was_never_opened_has_no_row():
    assert folded(deals, DEALT[1:]) == {}


def test_a_link_taken_back_leaves_the_row_as_it_was():
    unlinked = Logged(PersonUnlinked(customer_id=ANN, was_into=BOB), 5)

    [row] = folded(directory, [*PEOPLE_TOLD, unlinked]).values()

    assert (row.linked_into, row.link_reason, row.linked_at) == (None, None, None)


def test_what_was_erased_is_absent():
    erased = PersonRegistered(
        customer_id=ANN,
        identifiers=(Identifier(namespace=Namespace.MAIL, value=ERASED, given=ERASED),),
        profile=ERASED,
    )

    [row] = folded(directory, [Logged(erased, 0)]).values()
    untitled = DEALT[0].event.model_copy(update={"title": ERASED})
    [of_deal] = folded(deals, [Logged(untitled, 0)]).values()

    assert (row.profile, row.identifiers[0]["value"]) == ({}, None)
    assert of_deal.title is None


@pytest.mark.parametrize("seed", range(20))
def test_topics_may_come_in_any_order_against_each_other(seed):
    topics = [list(one) for one in (PEOPLE_TOLD, HITS, ORDERS, JOINED, MOVES, DEALT)]
    in_order = [one for topic in topics for one in topic]
    dice, shuffled = random.Random(seed), []  # noqa: S311
    while any(topics):
        shuffled.append(dice.choice([topic for topic in topics if topic]).pop(0))

    for model in READ_MODELS:
        assert folded(model, shuffled) == folded(model, in_order)


@pytest.mark.parametrize(
    ("table", "subject", "opened"),
    [
        (person, "customer_id", ("identifiers", "profile")),
        (timeline_entry, "customer_id", ("detail",)),
        (member, "member_id", ("mail", "name")),
        (deal, "customer_id", ("title",)),
    ],
    ids=str,
)
def test_every_column_with_opened_values_says_whose_they_are(table, subject, opened):
    named = {column.name: column.info["personal"] for column in table.columns if column.info}

    assert named == dict.fromkeys(opened, subject)


def test_scores_of_a_group_add_up_and_a_former_version_does_not_count():
    def score(customer_id, version, s):
        return Score(customer_id, "m", version, s, None, NOW, 60.0, 1, NOW)

    both = summed([score(ANN, 2, 0.0), score(BOB, 2, 0.0)], NOW)
    mixed = summed([score(ANN, 2, 0.0), score(BOB, 1, 9.0)], NOW)

    assert (both[0].value, both[0].counted) == (2.0, 2)
    assert (mixed[0].value, mixed[0].counted, mixed[0].model_version) == (1.0, 1, 2)


def test_everything_that_contacts_publishes_or_hears_is_folded_somewhere():
    folded_types = {kind for model in READ_MODELS for kind in model.types}

    assert {event.type for event in HEARD} == folded_types


@pytest.mark.parametrize("event", sorted(HEARD, key=lambda one: one.type), ids=lambda e: e.type)
@pytest.mark.parametrize("opened", [True, False], ids=["opened", "sealed"])
def test_every_golden_example_is_folded(event, opened):
    for version in range(1, event.version + 1):
        recorded = load(event.type, version).recorded()
        told = read(recorded, CONTRACT, TEST_KEYS if opened else None)
        before = PersonRegistered(
            customer_id=recorded.partition_key, identifiers=(MAIL,), profile={}
        )
        joined = MemberRegistered(member_id=recorded.partition_key, name="B", mail="b@x.test")
        entry = Logged(told, 1, recorded.partition_key, recorded.stream_id)
        entry.occurred_at = recorded.occurred_at
        begun = {"directory": before, "members": joined, "deals": DEALT[0].event}

        folding = [model for model in READ_MODELS if event.type in model.types]
        assert folding
        for model in folding:
            first = begun.get(model.name)
            about = (recorded.partition_key, recorded.stream_id)
            earlier = [Logged(first, 0, *about)] if first else []
            keys = folded(model, [*earlier, entry])
            assert [key[0] for key in keys] == [about[1] if model is deals else about[0]]


@pytest.mark.parametrize("event", PersonEvent.__args__, ids=lambda e: e.type)
def test_every_golden_example_about_people_evolves_a_person(event):
    recorded = load(event.type, 1).recorded()

    person = evolve(NOBODY, read(recorded, CONTRACT, TEST_KEYS))

    assert person is not NOBODY


def test_a_score_is_read_without_a_key():
    assert not scores.opens
    assert timeline.opens
    assert directory.opens
    assert deals.opens
    assert read(load("contacts.person.registered", 1).recorded(), CONTRACT).profile is SEALED
