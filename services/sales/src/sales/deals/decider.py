"""What may happen to a deal: commands and state in, events or a refusal out."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never, cast

from crm_deciding.decider import Decider
from crm_deciding.refusal import Refusal
from crm_events.personal import SEALED
from crm_events.sales import (
    DealAmountChanged,
    DealCloseDateChanged,
    DealLost,
    DealOpened,
    DealProductsChanged,
    DealReassigned,
    DealReopened,
    DealStageChanged,
    DealWon,
)

from sales.deals import rotting
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
from sales.deals.deal import Deal, Status, evolve
from sales.deals.pipelines import Condition
from sales.deals.products import CurrencyMismatch, total, with_lines

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

    from crm_events.base import Event
    from crm_events.money import Money
    from crm_events.sales import DealProduct

    from sales.deals.commands import DealCommand
    from sales.deals.deal import DealEvent
    from sales.deals.pipelines import Pipeline, Pipelines, Stage


class DealUnknown(Refusal):
    """There is no deal under this id."""


class DealAlreadyOpened(Refusal):
    """The deal id is taken."""


class DealNotOpen(Refusal):
    """The deal is won or lost; reopen it first."""


class DealNotClosed(Refusal):
    """The deal is open."""


class PipelineUnknown(Refusal):
    """There is no pipeline of this name."""


class StageUnknown(Refusal):
    """The pipeline has no stage of this name."""


class EntryConditionUnmet(Refusal):
    """The deal lacks what the stage requires."""


class LossReasonUnknown(Refusal):
    """The reason is none of the pipeline's."""


class AmountMissing(Refusal):
    """Nobody said what the deal is worth."""


class AmountFollowsProducts(Refusal):
    """The amount of a deal with products is their sum; change those."""


class ProductNotOnDeal(Refusal):
    """The deal does not have this product."""


def decide(  # noqa: C901, PLR0911  # one case per command
    command: DealCommand, state: Deal | None, *, pipelines: Pipelines
) -> tuple[DealEvent, ...]:
    """What follows from the command; nothing where it changes nothing.

    Raises:
        Refusal: one of those above, or of `sales.deals.products`.
    """
    match command:
        case OpenDeal():
            return _open(command, state, pipelines)
        case MoveDeal(stage=name):
            return _move(_still_open(state), name, pipelines)
        case ChangeAmount(amount=amount):
            return _change_amount(_still_open(state), amount)
        case ChangeExpectedClose(expected_close=day):
            return _change_close(_still_open(state), day)
        case AddProducts(lines=lines):
            deal = _still_open(state)
            return _change_products(deal, with_lines(deal.products, lines))
        case RemoveProduct(product_id=product_id):
            return _remove(_still_open(state), product_id)
        case WinDeal():
            return _win(command, _still_open(state))
        case LoseDeal():
            return _lose(command, _still_open(state), pipelines)
        case ReopenDeal(stage=name):
            return _reopen(_known(state), name, pipelines)
        case ReassignDeal(owner_id=owner_id):
            return _reassign(_known(state), owner_id)
        case LetDealRot(by=by):
            return rotting.let_rot(_known(state), by, pipelines)
        case _:
            assert_never(command)


def deals(pipelines: Pipelines) -> Decider[DealCommand, Deal | None]:
    """Deals as the chassis runs them."""

    def decided(command: DealCommand, state: Deal | None) -> tuple[Event, ...]:
        return decide(command, state, pipelines=pipelines)

    def evolved(state: Deal | None, event: Event, at: datetime) -> Deal | None:
        return evolve(state, cast("DealEvent", event), at)

    return Decider(
        name="deal",
        initial=None,
        decide=decided,
        evolve=evolved,
        partition_key=lambda event: cast("DealEvent", event).customer_id,
        timers=lambda state: rotting.timers(state, pipelines),
        ring=lambda _, timer: LetDealRot(timer.due_at),
        begins=(DealOpened,),
        basis=pipelines.durations,
    )


def _open(command: OpenDeal, state: Deal | None, pipelines: Pipelines) -> tuple[DealEvent, ...]:
    if state is not None:
        raise DealAlreadyOpened
    pipeline = _pipeline(pipelines, command.pipeline)
    stage = pipeline.stages[0] if command.stage is None else _stage(pipeline, command.stage)
    opened = DealOpened(
        deal_id=command.deal_id,
        customer_id=command.customer_id,
        pipeline=pipeline.name,
        stage=stage.name,
        title=command.title,
        amount=command.amount,
        expected_close=command.expected_close,
        owner_id=command.owner_id,
    )
    _check_entry(opened, stage)
    return (opened,)


def _move(deal: Deal, name: str, pipelines: Pipelines) -> tuple[DealEvent, ...]:
    if name == deal.stage:
        return ()
    stage = _stage(_pipeline(pipelines, deal.pipeline), name)
    _check_entry(deal, stage)
    return (
        DealStageChanged(
            deal_id=deal.deal_id,
            customer_id=deal.customer_id,
            pipeline=deal.pipeline,
            from_stage=deal.stage,
            stage=stage.name,
        ),
    )


def _change_amount(deal: Deal, amount: Money | None) -> tuple[DealEvent, ...]:
    if amount == deal.amount:
        return ()
    if deal.products:
        raise AmountFollowsProducts
    _check_currency(deal, amount)
    return (DealAmountChanged(deal_id=deal.deal_id, customer_id=deal.customer_id, amount=amount),)


def _change_close(deal: Deal, day: date | None) -> tuple[DealEvent, ...]:
    if day == deal.expected_close:
        return ()
    return (
        DealCloseDateChanged(
            deal_id=deal.deal_id, customer_id=deal.customer_id, expected_close=day
        ),
    )


def _remove(deal: Deal, product_id: str) -> tuple[DealEvent, ...]:
    kept = tuple(one for one in deal.products if one.product_id != product_id)
    if kept == deal.products:
        raise ProductNotOnDeal
    return _change_products(deal, kept)


def _change_products(deal: Deal, products: tuple[DealProduct, ...]) -> tuple[DealEvent, ...]:
    if products == deal.products:
        return ()
    amount = total(products)
    _check_currency(deal, amount)
    return (
        DealProductsChanged(
            deal_id=deal.deal_id, customer_id=deal.customer_id, products=products, amount=amount
        ),
    )


def _win(command: WinDeal, deal: Deal) -> tuple[DealEvent, ...]:
    _check_currency(deal, command.amount)
    amount = deal.amount if command.amount is None else command.amount
    if amount is None:
        raise AmountMissing
    return (
        DealWon(
            deal_id=deal.deal_id,
            customer_id=deal.customer_id,
            amount=amount,
            won_on=command.won_on,
        ),
    )


def _lose(command: LoseDeal, deal: Deal, pipelines: Pipelines) -> tuple[DealEvent, ...]:
    pipeline = _pipeline(pipelines, deal.pipeline)
    if command.reason not in pipeline.loss_reasons:
        raise LossReasonUnknown(f"The reasons are: {', '.join(pipeline.loss_reasons)}.")
    return (
        DealLost(
            deal_id=deal.deal_id,
            customer_id=deal.customer_id,
            reason=command.reason,
            note=SEALED if command.note is None else command.note,
        ),
    )


def _reopen(deal: Deal, name: str | None, pipelines: Pipelines) -> tuple[DealEvent, ...]:
    if deal.status is Status.OPEN:
        raise DealNotClosed
    stage = _stage(_pipeline(pipelines, deal.pipeline), deal.stage if name is None else name)
    _check_entry(deal, stage)
    return (DealReopened(deal_id=deal.deal_id, customer_id=deal.customer_id, stage=stage.name),)


def _reassign(deal: Deal, owner_id: UUID) -> tuple[DealEvent, ...]:
    if owner_id == deal.owner_id:
        return ()
    return (
        DealReassigned(
            deal_id=deal.deal_id,
            customer_id=deal.customer_id,
            owner_id=owner_id,
            was_owner_id=deal.owner_id,
        ),
    )


def _known(state: Deal | None) -> Deal:
    if state is None:
        raise DealUnknown
    return state


def _still_open(state: Deal | None) -> Deal:
    deal = _known(state)
    if deal.status is not Status.OPEN:
        raise DealNotOpen(f"The deal is {deal.status}; reopen it first.")
    return deal


def _pipeline(pipelines: Pipelines, name: str) -> Pipeline:
    pipeline = pipelines.pipeline(name)
    if pipeline is None:
        names = ", ".join(one.name for one in pipelines.pipelines)
        raise PipelineUnknown(f"The pipelines are: {names}.")
    return pipeline


def _stage(pipeline: Pipeline, name: str) -> Stage:
    stage = pipeline.stage(name)
    if stage is None:
        raise StageUnknown(f"The stages are: {', '.join(one.name for one in pipeline.stages)}.")
    return stage


def _check_entry(deal: Deal | DealOpened, stage: Stage) -> None:
    missing = [condition for condition in stage.requires if not _meets(deal, condition)]
    if missing:
        raise EntryConditionUnmet(f"The stage {stage.name} requires: {', '.join(missing)}.")


def _meets(deal: Deal | DealOpened, condition: Condition) -> bool:
    match condition:
        case Condition.AMOUNT:
            return deal.amount is not None
        case Condition.EXPECTED_CLOSE:
            return deal.expected_close is not None
        case Condition.PRODUCTS:
            return isinstance(deal, Deal) and bool(deal.products)  # it is opened without any
        case _:
            assert_never(condition)


def _check_currency(deal: Deal, amount: Money | None) -> None:
    if deal.amount is None or amount is None or amount.currency == deal.amount.currency:
        return
    raise CurrencyMismatch(f"The deal is in {deal.amount.currency}.")
