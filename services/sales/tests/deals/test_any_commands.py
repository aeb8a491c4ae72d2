"""Whatever is asked of a deal, in whatever order: it is what its events say, and stays whole."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from crm_deciding.refusal import Refusal
from crm_events.base import Event
from crm_events.money import Money
from crm_events.topics import CONTRACT
from hypothesis import given as told
from hypothesis import strategies as st
from sales.deals.commands import (
    AddProducts,
    ChangeAmount,
    ChangeExpectedClose,
    LetDealRot,
    LoseDeal,
    MoveDeal,
    OpenDeal,
    ReassignDeal,
    RemoveProduct,
    ReopenDeal,
    WinDeal,
)
from sales.deals.deal import Status
from sales.deals.decider import deals
from sales.deals.pipeline import deal_as_of, pipeline
from sales.deals.products import Line, total
from told import ANN, DEAL, NOW, OTHER, OWNER, PIPELINES, folded, logged

DECIDER = deals(PIPELINES)
amounts = st.decimals(min_value=0, max_value=1_000, places=2) | st.decimals(
    min_value=0, max_value=Decimal("999999999999.999999"), places=6
)
money = st.builds(Money, amount=amounts, currency=st.sampled_from(["EUR", "EUR", "EUR", "USD"]))
days = st.dates(date(2020, 1, 1), date(2030, 1, 1))
names = st.sampled_from(["lead", "offer", "order", "due", "gone"])
products = st.sampled_from(["cup", "pot", "jug"])
lines = st.lists(st.builds(Line, products, amounts, money), min_size=1, max_size=3).map(tuple)
opening = st.builds(
    OpenDeal,
    deal_id=st.just(DEAL),
    customer_id=st.just(ANN),
    pipeline=st.sampled_from(["short", "renewal", "gone"]),
    title=st.just("Cups"),
    owner_id=st.just(OWNER),
    stage=st.none() | names,
    amount=st.none() | money,
    expected_close=st.none() | days,
)
commands = st.one_of(
    opening,
    st.builds(MoveDeal, names),
    st.builds(ChangeAmount, st.none() | money),
    st.builds(ChangeExpectedClose, st.none() | days),
    st.builds(AddProducts, lines),
    st.builds(RemoveProduct, products),
    st.builds(WinDeal, days, st.none() | money),
    st.builds(LoseDeal, st.sampled_from(["price", "timing", "left"]), st.none() | st.just("dear")),
    st.builds(ReopenDeal, st.none() | names),
    st.builds(LetDealRot, st.just(NOW + timedelta(days=10))),
    st.builds(ReassignDeal, st.sampled_from([OWNER, OTHER])),
)
begun = OpenDeal(DEAL, ANN, "short", "Cups", OWNER)


def done(asked):
    """What follows from commands on a deal that is not there yet."""
    return done_on(DECIDER.initial, asked)


def done_on(state, asked):
    """What follows, each on the state after those before; what is refused does nothing."""
    events = list[Event]()
    for command in asked:
        try:
            decided = DECIDER.decide(command, state)
        except Refusal:
            continue
        for event in decided:
            state = DECIDER.evolve(state, event, NOW)
        events += decided
    return state, events


@told(st.lists(commands, max_size=30))
def test_a_deal_is_the_fold_of_its_events_as_they_are_written(asked):
    state, events = done([begun, *asked])

    again = DECIDER.initial
    for event in events:
        written = CONTRACT.classes[event.type].model_validate_json(
            event.model_dump_json(exclude_unset=True, exclude={"note", "title"})
        )
        again = DECIDER.evolve(again, written, NOW)

    assert again == state


@told(st.lists(commands, max_size=30))
def test_the_row_of_a_deal_says_what_its_decisions_stand_on(asked):
    state, events = done([begun, *asked])

    [row] = folded(pipeline, logged(*events)).values()

    assert (row.stage, row.status, row.owner_id) == (state.stage, state.status, state.owner_id)
    assert (row.amount, row.expected_close) == (
        state.amount and state.amount.amount,
        state.expected_close,
    )
    assert [one["product_id"] for one in row.products] == [one.product_id for one in state.products]
    assert row.version == len(events)
    assert (row.rotted_at is not None) == state.rotted
    assert deal_as_of(logged(*events), NOW.replace(year=2027)) == row


@told(st.lists(commands, max_size=30))
def test_a_deal_stays_whole(asked):
    state, events = done([begun, *asked])

    currencies = {one.amount.currency for one in state.products}
    assert currencies <= ({state.amount.currency} if state.amount else set())
    if state.status is Status.OPEN and not any(event.type == "sales.deal.won" for event in events):
        assert not state.products or state.amount == total(state.products)
    assert (state.status is Status.WON) <= (state.amount is not None)


@told(st.lists(commands, max_size=10), commands)
def test_a_command_that_is_asked_again_at_once_does_nothing_more(asked, command):
    state, _ = done([begun, *asked, command])

    _, again = done_on(state, [command])

    assert again == []


def test_what_is_asked_of_a_deal_does_happen():
    asked = [ChangeAmount(Money(amount=5, currency="EUR")), WinDeal(date(2026, 1, 1)), ReopenDeal()]

    state, events = done([begun, *asked])

    assert [event.type.rpartition(".")[2] for event in events] == [
        "opened",
        "amount-changed",
        "won",
        "reopened",
    ]
    assert state.status is Status.OPEN


@pytest.mark.parametrize("pipeline", ["short", "renewal"])
def test_every_pipeline_takes_a_deal(pipeline):
    state, _ = done([OpenDeal(DEAL, ANN, pipeline, "Cups", OWNER)])

    assert state.pipeline == pipeline
