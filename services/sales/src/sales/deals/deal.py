"""A deal as its events made it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

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

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

    from crm_events.money import Money
    from crm_events.sales import DealProduct

DealChange = (
    DealStageChanged
    | DealAmountChanged
    | DealCloseDateChanged
    | DealProductsChanged
    | DealWon
    | DealLost
    | DealReopened
    | DealReassigned
    | DealRotted
)
DealEvent = DealOpened | DealChange


class Status(StrEnum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Deal:
    """What decisions about a deal stand on. Of a deal that is not there, the state is None.

    `rotted`: it was found to stand in its stage for too long, and has not moved since.
    """

    deal_id: UUID
    customer_id: UUID
    pipeline: str
    stage: str
    stage_since: datetime
    owner_id: UUID
    status: Status = Status.OPEN
    amount: Money | None = None
    expected_close: date | None = None
    products: tuple[DealProduct, ...] = ()
    rotted: bool = False


def evolve(state: Deal | None, event: DealEvent, at: datetime) -> Deal | None:
    """The state after the event, which occurred at that instant."""
    match event:
        case DealOpened():
            return begun(event, at)
        case _:
            return None if state is None else _changed(state, event, at)


def begun(event: DealOpened, at: datetime) -> Deal:
    """The deal as it was opened."""
    return Deal(
        deal_id=event.deal_id,
        customer_id=event.customer_id,
        pipeline=event.pipeline,
        stage=event.stage,
        stage_since=at,
        owner_id=event.owner_id,
        amount=event.amount,
        expected_close=event.expected_close,
    )


def _changed(  # noqa: PLR0911  # one line per event
    deal: Deal, event: DealChange, at: datetime
) -> Deal:
    match event:
        case DealStageChanged():
            return replace(deal, stage=event.stage, stage_since=at, rotted=False)
        case DealAmountChanged():
            return replace(deal, amount=event.amount)
        case DealCloseDateChanged():
            return replace(deal, expected_close=event.expected_close)
        case DealProductsChanged():
            return replace(deal, products=event.products, amount=event.amount)
        case DealWon():
            return replace(deal, status=Status.WON, amount=event.amount, rotted=False)
        case DealLost():
            return replace(deal, status=Status.LOST, rotted=False)
        case DealReopened():
            return replace(deal, status=Status.OPEN, stage=event.stage, stage_since=at)
        case DealReassigned():
            return replace(deal, owner_id=event.owner_id)
        case DealRotted():
            return replace(deal, rotted=True)
        case _:
            assert_never(event)
