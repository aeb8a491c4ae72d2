"""What tests of sales share: pipelines, deals, and events as folds meet them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from crm_events.money import Money
from crm_events.sales import DealOpened
from sales.deals.deal import evolve
from sales.deals.pipelines import read_pipelines
from sales.deals.products import Line

ANN, BOB = UUID(int=1), UUID(int=2)
DEAL = UUID(int=0xDEA1)
TASK = UUID(int=0x7A51)
OWNER, OTHER = UUID(int=0xB0B), UUID(int=0xA11)
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DAY = date(2026, 6, 30)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # a test's
PIPELINES_TEXT = """{"pipelines": [
  {"name": "short",
   "stages": [
     {"name": "lead", "probability": 0.1, "rots_after": "P10D"},
     {"name": "offer", "probability": 0.5, "requires": ["amount", "expected_close"]},
     {"name": "order", "probability": 0.9, "requires": ["products"]}],
   "loss_reasons": ["price", "timing"]},
  {"name": "renewal", "stages": [{"name": "due", "probability": 0.8}], "loss_reasons": ["left"]}
]}"""
PIPELINES = read_pipelines(PIPELINES_TEXT)


def euros(amount):
    return Money(amount=Decimal(amount), currency="EUR")


def dollars(amount):
    return Money(amount=Decimal(amount), currency="USD")


def line(product_id="cup", quantity="2", price="10.50", currency="EUR"):
    return Line(product_id, Decimal(quantity), Money(amount=Decimal(price), currency=currency))


def opened(deal_id=DEAL, customer_id=ANN, **fields):
    told = {
        "pipeline": "short",
        "stage": "lead",
        "title": "Cups",
        "amount": None,
        "expected_close": None,
        "owner_id": OWNER,
        **fields,
    }
    return DealOpened(deal_id=deal_id, customer_id=customer_id, **told)


def given(*events):
    state = None
    for event in events:
        state = evolve(state, event, NOW)
    return state


class Logged:
    """An event as folds meet it, `number` minutes after noon."""

    def __init__(self, event, number=0, *, stream_version=None):
        self.event = event
        self.type = event.type
        self.event_id = uuid5(ANN, str(number))
        self.stream_id = _of_event(event, "task_id", "deal_id", "customer_id", "member_id")
        self.stream_version = number + 1 if stream_version is None else stream_version
        self.partition_key = _of_event(event, "customer_id", "member_id")
        self.occurred_at = self.recorded_at = NOW + timedelta(minutes=number)
        self.key = ()


def _of_event(event, *names):
    """The first of these fields that the event has."""
    return next(getattr(event, name) for name in names if hasattr(event, name))


def logged(*events):
    return [Logged(event, number) for number, event in enumerate(events)]


def folded(model, entries):
    rows = {}
    model.fold_into(rows, [one for one in entries if one.type in model.types])
    return rows
