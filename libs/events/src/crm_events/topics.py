"""One table: which topic carries which events, and who publishes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from crm_events import analytics, contacts
from crm_events.placement import placement
from crm_events.upcasters import UPCASTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crm_events.base import Event
    from crm_events.upcasters import Upcasters

CUSTOMER_PARTITIONS: Final = 12
"""Partition count of every customer-keyed topic, fixed for the life of the topic."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of stream. One service publishes it; it keeps everything."""

    name: str
    publisher: str
    events: tuple[type[Event], ...]
    partitions: int = CUSTOMER_PARTITIONS


@dataclass(frozen=True, slots=True)
class Contract:
    """The topics table with its look-ups. `private` lists classes that are never published.

    A class whose personal fields could not be sealed is refused here, with a TypeError.
    """

    topics: tuple[Topic, ...]
    private: tuple[type[Event], ...] = ()
    upcasters: Upcasters = field(default_factory=lambda: UPCASTERS)
    by_name: Mapping[str, Topic] = field(init=False, repr=False)
    by_type: Mapping[str, Topic] = field(init=False, repr=False)
    classes: Mapping[str, type[Event]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        every = [event for topic in self.topics for event in topic.events] + list(self.private)
        if len({event.type for event in every}) != len(every):
            raise ValueError("an event type stands in the contract twice")
        for event in every:
            placement(event)
        by_name = {topic.name: topic for topic in self.topics}
        by_type = {event.type: topic for topic in self.topics for event in topic.events}
        object.__setattr__(self, "by_name", MappingProxyType(by_name))
        object.__setattr__(self, "by_type", MappingProxyType(by_type))
        object.__setattr__(self, "classes", MappingProxyType({e.type: e for e in every}))

    def published_by(self, service: str) -> tuple[Topic, ...]:
        return tuple(topic for topic in self.topics if topic.publisher == service)


PEOPLE: Final = Topic(
    "contacts.people",
    "contacts",
    (
        contacts.PersonRegistered,
        contacts.PersonChanged,
        contacts.PersonIdentified,
        contacts.PersonLinked,
        contacts.PersonUnlinked,
    ),
)
ACTIVITY: Final = Topic(
    "contacts.activity",
    "contacts",
    (
        contacts.PageViewed,
        contacts.ScreenViewed,
        contacts.EventTracked,
        contacts.TraitsReceived,
        contacts.GroupJoined,
        contacts.IdAliased,
    ),
)
PURCHASES: Final = Topic(
    "contacts.purchases", "contacts", (contacts.OrderCompleted, contacts.OrderRefunded)
)
SCORES: Final = Topic("analytics.scores", "analytics", (analytics.ScoreMoved,))

CONTRACT: Final = Contract((PEOPLE, ACTIVITY, PURCHASES, SCORES))

KEYS_TOPIC: Final = "contacts.keys"
"""Compacted; a record is a `SubjectKeyRecord` under its key id. Not a contract topic."""
KEYS_PARTITIONS: Final = 12
