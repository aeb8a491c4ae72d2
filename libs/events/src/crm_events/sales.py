"""What sales publishes: deals on their way through a pipeline, and what is to be done for them."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from pydantic import AwareDatetime

from crm_events.base import Event, Value
from crm_events.money import Amount, Money
from crm_events.personal import SEALED, Personal


class DealProduct(Value):
    """One line of a deal. Not personal."""

    product_id: str
    quantity: Amount
    unit_price: Money
    amount: Money  # quantity times unit price, rounded half up to 6 places


# --- sales.deals -----------------------------------------------------------------------------


class DealFact(Event):
    """What happened to a deal, whose id is the stream's; it travels under its customer's."""

    deal_id: UUID
    customer_id: UUID


class DealOpened(DealFact, type="sales.deal.opened", version=1):
    """Somebody has a chance to sell something to a customer."""

    pipeline: str
    stage: str
    title: Personal[str] = SEALED
    amount: Money | None  # what it may bring in; None: nobody knows yet
    expected_close: date | None
    owner_id: UUID  # who works on it


class DealStageChanged(DealFact, type="sales.deal.stage-changed", version=1):
    """A deal came into another stage of its pipeline."""

    pipeline: str
    from_stage: str
    stage: str


class DealAmountChanged(DealFact, type="sales.deal.amount-changed", version=1):
    """A deal is thought to bring in so much; None: nobody knows any more."""

    amount: Money | None


class DealCloseDateChanged(DealFact, type="sales.deal.close-date-changed", version=1):
    """A deal is expected to be won on another day; None: nobody knows any more."""

    expected_close: date | None


class DealProductsChanged(DealFact, type="sales.deal.products-changed", version=1):
    """These are the products of a deal from now on. `amount` is their sum, and the deal's.

    It is None where no product is left.
    """

    products: tuple[DealProduct, ...]
    amount: Money | None


class DealWon(DealFact, type="sales.deal.won", version=1):
    """The customer bought. `amount` is what for, whatever was expected."""

    amount: Money
    won_on: date


class DealLost(DealFact, type="sales.deal.lost", version=1):
    """The customer did not buy. `reason` is one of the pipeline's; `note` may say more."""

    reason: str
    note: Personal[str] = SEALED


class DealReopened(DealFact, type="sales.deal.reopened", version=1):
    """A deal that was won or lost is worked on again, in this stage."""

    stage: str


class DealReassigned(DealFact, type="sales.deal.reassigned", version=1):
    """Somebody else works on a deal."""

    owner_id: UUID
    was_owner_id: UUID


class DealRotted(DealFact, type="sales.deal.rotted", version=1):
    """A deal has stood in its stage for longer than the pipeline allows, without a move."""

    owner_id: UUID
    pipeline: str
    stage: str
    since: AwareDatetime  # when it came into the stage


# --- sales.tasks -----------------------------------------------------------------------------


class TaskFact(Event):
    """What happened to a task, whose id is the stream's; it travels under its customer's."""

    task_id: UUID
    customer_id: UUID


class TaskOpened(TaskFact, type="sales.task.opened", version=1):
    """Somebody is to do something about a deal, by the end of that day. `kind` says what."""

    deal_id: UUID
    owner_id: UUID  # who is to do it
    kind: str
    due_on: date


class TaskDone(TaskFact, type="sales.task.done", version=1):
    """What was to be done is done, or need not be done any more: then `reason` says why."""

    reason: str | None = None  # "deal-moved", "deal-won", "deal-lost"; None: somebody did it


class TaskReassigned(TaskFact, type="sales.task.reassigned", version=1):
    """Somebody else is to do it."""

    owner_id: UUID
    was_owner_id: UUID
