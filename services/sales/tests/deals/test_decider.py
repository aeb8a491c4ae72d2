"""The rules about deals: given what happened, when a command comes, then this follows."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from crm_events.personal import SEALED
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
)
from sales.deals import decider
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
from sales.deals.deal import Status, evolve
from sales.deals.decider import (
    AmountFollowsProducts,
    AmountMissing,
    DealAlreadyOpened,
    DealNotClosed,
    DealNotOpen,
    DealUnknown,
    EntryConditionUnmet,
    LossReasonUnknown,
    PipelineUnknown,
    ProductNotOnDeal,
    StageUnknown,
)
from sales.deals.products import (
    MAX_PRODUCTS,
    AmountTooLarge,
    CurrencyMismatch,
    ProductGivenTwice,
    TooManyProducts,
)
from told import ANN, DAY, DEAL, NOW, OTHER, OWNER, PIPELINES, dollars, euros, given, line, opened

OF = {"deal_id": DEAL, "customer_id": ANN}
CUPS = DealProduct(product_id="cup", quantity=2, unit_price=euros("10.50"), amount=euros("21.00"))
WITH_CUPS = DealProductsChanged(**OF, products=(CUPS,), amount=euros("21.00"))
WON = DealWon(**OF, amount=euros(100), won_on=DAY)
LOST = DealLost(**OF, reason="price")
ROTTED = DealRotted(**OF, owner_id=OWNER, pipeline="short", stage="lead", since=NOW)
TEN_DAYS = timedelta(days=10)
OPEN = OpenDeal(DEAL, ANN, "short", "Cups", OWNER)
MAY_CHANGE_AN_OPEN_DEAL = [
    MoveDeal("offer"),
    ChangeAmount(euros(1)),
    ChangeExpectedClose(DAY),
    AddProducts((line(),)),
    RemoveProduct("cup"),
    WinDeal(DAY, euros(1)),
    LoseDeal("price"),
]


def decide(command, state):
    return decider.decide(command, state, pipelines=PIPELINES)


def test_a_deal_begins_in_the_first_stage_of_its_pipeline():
    assert decide(OPEN, given()) == (opened(),)


def test_a_deal_may_begin_in_a_stage_whose_conditions_it_meets():
    command = OpenDeal(DEAL, ANN, "short", "Cups", OWNER, "offer", euros(5), DAY)

    events = decide(command, given())

    assert events == (opened(stage="offer", amount=euros(5), expected_close=DAY),)


def test_a_deal_does_not_begin_in_a_stage_whose_conditions_it_does_not_meet():
    with pytest.raises(EntryConditionUnmet, match="offer requires: expected_close"):
        decide(OpenDeal(DEAL, ANN, "short", "Cups", OWNER, "offer", euros(5)), given())


def test_a_deal_id_is_opened_once():
    with pytest.raises(DealAlreadyOpened):
        decide(OPEN, given(opened()))


def test_a_deal_is_opened_in_a_pipeline_that_there_is():
    with pytest.raises(PipelineUnknown, match="short, renewal"):
        decide(OpenDeal(DEAL, ANN, "long", "Cups", OWNER), given())


def test_a_deal_is_opened_in_a_stage_of_its_pipeline():
    with pytest.raises(StageUnknown, match="lead, offer, order"):
        decide(OpenDeal(DEAL, ANN, "short", "Cups", OWNER, "due"), given())


def test_a_deal_moves_to_a_stage_whose_conditions_it_meets():
    state = given(opened(amount=euros(5), expected_close=DAY))

    events = decide(MoveDeal("offer"), state)

    assert events == (DealStageChanged(**OF, pipeline="short", from_stage="lead", stage="offer"),)


def test_a_deal_moves_back_as_well():
    state = given(opened(stage="offer"))

    [event] = decide(MoveDeal("lead"), state)

    assert (event.from_stage, event.stage) == ("offer", "lead")


def test_a_move_to_where_the_deal_is_is_no_event():
    assert decide(MoveDeal("offer"), given(opened(stage="offer"))) == ()


def test_a_stage_tells_all_that_it_misses():
    with pytest.raises(EntryConditionUnmet, match="offer requires: amount, expected_close"):
        decide(MoveDeal("offer"), given(opened()))


def test_a_stage_may_require_products():
    with pytest.raises(EntryConditionUnmet, match="order requires: products"):
        decide(MoveDeal("order"), given(opened(amount=euros(5))))

    assert decide(MoveDeal("order"), given(opened(), WITH_CUPS))


def test_a_deal_moves_within_its_pipeline():
    with pytest.raises(StageUnknown):
        decide(MoveDeal("due"), given(opened()))


def test_a_deal_of_a_pipeline_that_was_taken_away_does_not_move():
    with pytest.raises(PipelineUnknown):
        decide(MoveDeal("offer"), given(opened(pipeline="gone")))


def test_an_amount_changes():
    assert decide(ChangeAmount(euros(7)), given(opened())) == (
        DealAmountChanged(**OF, amount=euros(7)),
    )


def test_an_amount_is_cleared():
    state = given(opened(amount=euros(7)))

    [event] = decide(ChangeAmount(None), state)

    assert given(opened(amount=euros(7)), event).amount is None


def test_the_same_amount_is_no_event_however_it_is_written():
    assert decide(ChangeAmount(euros("7.00")), given(opened(amount=euros(7)))) == ()


def test_a_deal_is_in_one_currency():
    with pytest.raises(CurrencyMismatch, match="EUR"):
        decide(ChangeAmount(dollars(7)), given(opened(amount=euros(7))))


def test_a_deal_whose_amount_was_cleared_may_be_in_another_currency():
    cleared = DealAmountChanged(**OF, amount=None)

    assert decide(ChangeAmount(dollars(7)), given(opened(amount=euros(7)), cleared))


def test_the_amount_of_a_deal_with_products_is_their_sum():
    with pytest.raises(AmountFollowsProducts):
        decide(ChangeAmount(euros(7)), given(opened(), WITH_CUPS))


def test_another_day_of_closing_is_expected():
    assert decide(ChangeExpectedClose(DAY), given(opened())) == (
        DealCloseDateChanged(**OF, expected_close=DAY),
    )


def test_the_same_day_is_no_event():
    assert decide(ChangeExpectedClose(DAY), given(opened(expected_close=DAY))) == ()


def test_products_are_put_on_a_deal_and_their_sum_is_its_amount():
    assert decide(AddProducts((line(),)), given(opened(amount=euros(500)))) == (WITH_CUPS,)


def test_a_product_that_is_there_takes_its_new_line():
    state = given(opened(), WITH_CUPS)

    [event] = decide(AddProducts((line(quantity="3"), line("pot", "1", "40"))), state)

    assert [one.product_id for one in event.products] == ["cup", "pot"]
    assert event.amount == euros("71.50")


def test_products_that_are_there_already_are_no_event():
    assert decide(AddProducts((line(),)), given(opened(), WITH_CUPS)) == ()


def test_a_product_is_given_once():
    with pytest.raises(ProductGivenTwice, match="cup"):
        decide(AddProducts((line(), line())), given(opened()))


def test_a_deal_has_at_most_two_hundred_products():
    lines = tuple(line(str(number)) for number in range(MAX_PRODUCTS))

    with pytest.raises(TooManyProducts):
        decide(AddProducts(lines), given(opened(), WITH_CUPS))


def test_products_are_in_the_currency_of_the_deal():
    with pytest.raises(CurrencyMismatch):
        decide(AddProducts((line(currency="USD"),)), given(opened(amount=euros(1))))
    with pytest.raises(CurrencyMismatch):
        decide(AddProducts((line("pot", currency="USD"),)), given(opened(), WITH_CUPS))


def test_products_come_to_no_more_than_an_amount_can_be():
    with pytest.raises(AmountTooLarge):
        decide(AddProducts((line(quantity="999999999999", price="2"),)), given(opened()))


def test_a_product_is_removed():
    pot = line("pot", "1", "40")
    both = decide(AddProducts((pot,)), given(opened(), WITH_CUPS))

    [event] = decide(RemoveProduct("cup"), given(opened(), WITH_CUPS, *both))

    assert [one.product_id for one in event.products] == ["pot"]
    assert event.amount == euros(40)


def test_without_its_last_product_nobody_knows_what_a_deal_may_bring_in():
    assert decide(RemoveProduct("cup"), given(opened(), WITH_CUPS)) == (
        DealProductsChanged(**OF, products=(), amount=None),
    )


def test_only_a_product_that_is_there_is_removed():
    with pytest.raises(ProductNotOnDeal):
        decide(RemoveProduct("pot"), given(opened(), WITH_CUPS))


def test_a_deal_is_won_for_what_it_was_thought_to_bring_in():
    assert decide(WinDeal(DAY), given(opened(amount=euros(100)))) == (WON,)


def test_a_deal_is_won_for_another_amount():
    [event] = decide(WinDeal(DAY, euros(90)), given(opened(amount=euros(100))))

    assert given(opened(amount=euros(100)), event).amount == euros(90)


def test_a_deal_is_won_for_an_amount():
    with pytest.raises(AmountMissing):
        decide(WinDeal(DAY), given(opened()))


def test_a_deal_is_won_in_its_currency():
    with pytest.raises(CurrencyMismatch):
        decide(WinDeal(DAY, dollars(100)), given(opened(amount=euros(100))))


def test_a_deal_is_lost_for_a_reason_of_its_pipeline():
    assert decide(LoseDeal("price", "too dear"), given(opened())) == (
        DealLost(**OF, reason="price", note="too dear"),
    )


def test_a_deal_that_is_lost_without_a_word_has_no_note():
    [event] = decide(LoseDeal("price"), given(opened()))

    assert event.note is SEALED


def test_a_reason_of_another_pipeline_is_none():
    with pytest.raises(LossReasonUnknown, match="price, timing"):
        decide(LoseDeal("left"), given(opened()))


@pytest.mark.parametrize("closed", [WON, LOST], ids=["won", "lost"])
@pytest.mark.parametrize("command", MAY_CHANGE_AN_OPEN_DEAL, ids=lambda one: type(one).__name__)
def test_a_closed_deal_stays_as_it_is(closed, command):
    with pytest.raises(DealNotOpen, match=r"The deal is (won|lost)"):
        decide(command, given(opened(), closed))


@pytest.mark.parametrize("closed", [WON, LOST], ids=["won", "lost"])
def test_a_closed_deal_is_reopened_where_it_was(closed):
    state = given(opened(), closed)

    events = decide(ReopenDeal(), state)

    assert events == (DealReopened(**OF, stage="lead"),)
    assert given(opened(), closed, *events).status is Status.OPEN


def test_a_closed_deal_is_reopened_in_another_stage_whose_conditions_it_meets():
    state = given(opened(expected_close=DAY), WON)

    assert decide(ReopenDeal("offer"), state) == (DealReopened(**OF, stage="offer"),)
    with pytest.raises(EntryConditionUnmet, match="products"):
        decide(ReopenDeal("order"), state)


def test_a_deal_is_reopened_in_a_stage_that_there_is():
    with pytest.raises(StageUnknown):
        decide(ReopenDeal(), given(opened(stage="gone"), LOST))


def test_only_a_closed_deal_is_reopened():
    with pytest.raises(DealNotClosed):
        decide(ReopenDeal(), given(opened()))


@pytest.mark.parametrize("more", [(), (WON,), (LOST,)], ids=["open", "won", "lost"])
def test_a_deal_has_another_owner_open_or_closed(more):
    state = given(opened(), *more)

    events = decide(ReassignDeal(OTHER), state)

    assert events == (DealReassigned(**OF, owner_id=OTHER, was_owner_id=OWNER),)


def test_the_same_owner_is_no_event():
    assert decide(ReassignDeal(OWNER), given(opened())) == ()


@pytest.mark.parametrize(
    "command",
    [*MAY_CHANGE_AN_OPEN_DEAL, ReopenDeal(), ReassignDeal(OTHER)],
    ids=lambda one: type(one).__name__,
)
def test_nothing_happens_to_a_deal_that_is_unknown(command):
    with pytest.raises(DealUnknown):
        decide(command, given())


def test_what_happened_to_a_deal_that_was_never_opened_makes_none():
    assert given(WON) is None


def test_a_deal_travels_under_its_customer():
    assert decider.deals(PIPELINES).partition_key(opened()) == ANN
    assert decider.deals(PIPELINES).partition_key(opened(customer_id=UUID(int=9))) == UUID(int=9)


@pytest.mark.parametrize(
    ("happened", "due_at"),
    [
        ((opened(),), NOW + TEN_DAYS),
        ((opened(stage="offer"),), None),
        ((opened(pipeline="gone"),), None),
        ((opened(), DealReassigned(**OF, owner_id=OTHER, was_owner_id=OWNER)), NOW + TEN_DAYS),
        ((opened(), WON), None),
        ((opened(), LOST), None),
        ((opened(), LOST, DealReopened(**OF, stage="lead")), NOW + TEN_DAYS),
        ((opened(), ROTTED), None),
        ((opened(), ROTTED, LOST, DealReopened(**OF, stage="lead")), NOW + TEN_DAYS),
    ],
)
def test_a_deal_has_a_timer_while_it_is_open_in_a_stage_in_which_deals_rot(happened, due_at):
    timers = decider.deals(PIPELINES).timers(given(*happened))

    assert [one.due_at for one in timers] == ([] if due_at is None else [due_at])


def test_a_deal_that_moves_has_its_time_anew():
    later = NOW + timedelta(days=3)
    moved = DealStageChanged(**OF, pipeline="short", from_stage="offer", stage="lead")
    state = evolve(given(opened(stage="offer"), ROTTED), moved, later)

    [timer] = decider.deals(PIPELINES).timers(state)

    assert timer.due_at == later + TEN_DAYS


def test_a_deal_whose_time_is_over_rots_once():
    asked = LetDealRot(NOW + TEN_DAYS)

    assert decide(asked, given(opened())) == (ROTTED,)
    assert decide(asked, given(opened(), ROTTED)) == ()


@pytest.mark.parametrize(
    ("happened", "by"),
    [
        ((opened(),), NOW + TEN_DAYS - timedelta(microseconds=1)),
        ((opened(stage="offer"),), NOW + TEN_DAYS),
        ((opened(), WON), NOW + TEN_DAYS),
    ],
)
def test_a_deal_that_has_more_time_or_went_on_does_not_rot(happened, by):
    assert decide(LetDealRot(by), given(*happened)) == ()


def test_a_deal_that_nobody_knows_does_not_rot():
    with pytest.raises(DealUnknown):
        decide(LetDealRot(NOW), given())
