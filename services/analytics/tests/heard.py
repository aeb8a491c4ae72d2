"""What tests of analytics share: events as the log would hand them to a fold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from crm_events.contacts import (
    EventTracked,
    LinkReason,
    OrderCompleted,
    OrderRefunded,
    PageViewed,
    PersonLinked,
    PersonUnlinked,
)
from crm_events.envelope import Recorded
from crm_events.money import Money
from crm_events.topics import CONTRACT
from crm_store.log.logged import LoggedEvent

if TYPE_CHECKING:
    from crm_events.base import Event

LANDMARK = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

MODEL = """{
  "name": "test", "version": 1, "landmark": "2025-01-01T00:00:00Z", "half_life_days": 30,
  "kinds": [
    {"name": "purchase", "type": "contacts.purchase.completed", "weight": 20, "why": "Pays."},
    {"name": "refund", "type": "contacts.purchase.refunded", "weight": 15, "sign": "negative",
     "why": "Takes back."},
    {"name": "sign-up", "type": "contacts.activity.tracked", "weight": 10, "cap_per_day": 1,
     "when": {"field": "name", "one_of": ["Signed Up"]}, "why": "Stays."},
    {"name": "farewell", "type": "contacts.activity.tracked", "weight": 8, "cap_per_day": 1,
     "sign": "negative", "when": {"field": "name", "one_of": ["Left"]}, "why": "Goes."},
    {"name": "tracked", "type": "contacts.activity.tracked", "weight": 1, "why": "Acts."},
    {"name": "page", "type": "contacts.activity.page", "weight": 0.5, "cap_per_day": 3,
     "why": "Looks."}
  ]
}"""


BANDED = MODEL.replace(
    '"kinds"',
    '''"bands": [
    {"name": "angry"},
    {"name": "cold", "at_least": -10},
    {"name": "warm", "at_least": 5},
    {"name": "hot", "at_least": 20}
  ],
  "kinds"''',
)
"""The same with bands; the value 0 is in "cold"."""


def customer(number: int) -> UUID:
    return UUID(int=0xC0 << 120 | number)


def event_id(number: int) -> UUID:
    return UUID(int=0xE0 << 120 | number)


def heard(
    event: Event, at: datetime, *, number: int = 1, recorded_at: datetime | None = None
) -> LoggedEvent[Any]:
    """An event as a fold meets it; recorded when it happened unless stated."""
    return logged(
        Recorded(
            event_id=event_id(number),
            type=event.type,
            schema_version=event.version,
            stream_id=event_id(number),
            stream_version=1,
            partition_key=event.customer_id,  # type: ignore[attr-defined]
            occurred_at=at,
            recorded_at=recorded_at or at,
            topic=CONTRACT.by_type[event.type].name,
            partition=0,
            sequence=1,
            data=event.model_dump_json(exclude_unset=True),
        )
    )


def logged(recorded: Recorded) -> LoggedEvent[Any]:
    """A row of the log without a log."""
    row = {
        "epoch": 1, "xid": "1000", "gp": 1, "meta": None, "version": recorded.stream_version,
        **{name: getattr(recorded, name) for name in (
            "event_id", "type", "schema_version", "stream_id", "partition_key", "occurred_at",
            "recorded_at", "topic", "partition", "sequence", "data")},
    }  # fmt: skip
    return LoggedEvent(cast("Any", row), CONTRACT)


def page(number: int = 1) -> PageViewed:
    return PageViewed(customer_id=customer(number), message_id="m", source="shop", name="Home")


def tracked(name: str, number: int = 1) -> EventTracked:
    return EventTracked(customer_id=customer(number), message_id="m", source="shop", name=name)


def order(amount: str = "10.00", number: int = 1, currency: str = "USD") -> OrderCompleted:
    return OrderCompleted(
        customer_id=customer(number),
        message_id="m",
        source="shop",
        order_id="o",
        total=Money(amount=amount, currency=currency),  # type: ignore[arg-type]
    )


def refund(amount: str = "10.00", number: int = 1, currency: str = "USD") -> OrderRefunded:
    return OrderRefunded(
        customer_id=customer(number),
        message_id="m",
        source="shop",
        order_id="o",
        total=Money(amount=amount, currency=currency),  # type: ignore[arg-type]
    )


def linked(number: int, into: int) -> PersonLinked:
    return PersonLinked(
        customer_id=customer(number), into=customer(into), reason=LinkReason.IDENTIFIED
    )


def unlinked(number: int, into: int) -> PersonUnlinked:
    return PersonUnlinked(customer_id=customer(number), was_into=customer(into))
