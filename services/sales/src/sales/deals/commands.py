"""What may be asked of a deal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

    from crm_events.money import Money

    from sales.deals.products import Line


@dataclass(frozen=True, slots=True)
class OpenDeal:
    """Open a deal under a fresh id. Without a stage it begins in the pipeline's first."""

    deal_id: UUID
    customer_id: UUID
    pipeline: str
    title: str
    owner_id: UUID
    stage: str | None = None
    amount: Money | None = None
    expected_close: date | None = None


@dataclass(frozen=True, slots=True)
class MoveDeal:
    stage: str


@dataclass(frozen=True, slots=True)
class ChangeAmount:
    """None: nobody knows any more what the deal may bring in."""

    amount: Money | None


@dataclass(frozen=True, slots=True)
class ChangeExpectedClose:
    expected_close: date | None


@dataclass(frozen=True, slots=True)
class AddProducts:
    """Put products on the deal; one that is there takes its new line. The amount is their sum."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class RemoveProduct:
    product_id: str


@dataclass(frozen=True, slots=True)
class WinDeal:
    """The customer bought, for `amount`, or else for what the deal was thought to bring in."""

    won_on: date
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class LoseDeal:
    reason: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ReopenDeal:
    """Work on a closed deal again, in this stage or else in the one it was closed in."""

    stage: str | None = None


@dataclass(frozen=True, slots=True)
class ReassignDeal:
    """A closed deal may have another owner too."""

    owner_id: UUID


@dataclass(frozen=True, slots=True)
class LetDealRot:
    """By then the deal may have stood in its stage for too long: its timer's command."""

    by: datetime


DealCommand = (
    OpenDeal
    | MoveDeal
    | ChangeAmount
    | ChangeExpectedClose
    | AddProducts
    | RemoveProduct
    | WinDeal
    | LoseDeal
    | ReopenDeal
    | ReassignDeal
    | LetDealRot
)
