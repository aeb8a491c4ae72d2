"""One table: which topic carries which events, and who publishes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from crm_events import analytics, contacts, sales
from crm_events.downcasters import DOWNCASTERS, WRITES, downcast
from crm_events.placement import placement
from crm_events.upcasters import UPCASTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crm_events.base import Event
    from crm_events.downcasters import Downcaster
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

    `writes` names the types of which an older version is written, for readers that know no newer
    one. A class whose personal fields could not be sealed is refused here, with a TypeError.
    """

    topics: tuple[Topic, ...]
    private: tuple[type[Event], ...] = ()
    upcasters: Upcasters = field(default_factory=lambda: UPCASTERS)
    downcasters: tuple[Downcaster, ...] = ()
    writes: Mapping[str, int] = field(default_factory=dict[str, int])
    by_name: Mapping[str, Topic] = field(init=False, repr=False)
    by_type: Mapping[str, Topic] = field(init=False, repr=False)
    classes: Mapping[str, type[Event]] = field(init=False, repr=False)
    _steps: Mapping[str, tuple[Downcaster, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        every = [event for topic in self.topics for event in topic.events] + list(self.private)
        if len({event.type for event in every}) != len(every):
            raise ValueError("an event type stands in the contract twice")
        for event in (*every, *(one.older for one in self.downcasters)):
            placement(event)
        by_name = {topic.name: topic for topic in self.topics}
        by_type = {event.type: topic for topic in self.topics for event in topic.events}
        object.__setattr__(self, "by_name", MappingProxyType(by_name))
        object.__setattr__(self, "by_type", MappingProxyType(by_type))
        object.__setattr__(self, "classes", MappingProxyType({e.type: e for e in every}))
        steps = {name: self._steps_to(name, version) for name, version in self.writes.items()}
        object.__setattr__(self, "_steps", MappingProxyType(steps))

    @property
    def written(self) -> tuple[type[Event], ...]:
        """Every class that can be written: the present ones, and those of `downcasters`."""
        return (*self.classes.values(), *(one.older for one in self.downcasters))

    def writing(self, writes: Mapping[str, int]) -> Contract:
        """Return this contract with other versions written for the types that `writes` names.

        Raises:
            ValueError: it names an unknown type, or a version that cannot be written.
        """
        return replace(self, writes={**self.writes, **writes})

    def as_written(self, event: Event) -> Event:
        """Return the event in the version that is written. What is appended and sealed is this."""
        steps = self._steps.get(event.type)
        return downcast(event, steps) if steps else event

    def _steps_to(self, name: str, version: int) -> tuple[Downcaster, ...]:
        cls = self.classes.get(name)
        if cls is None:
            raise ValueError(f"{name} is no type of the contract")
        known = {one.older.version: one for one in self.downcasters if one.older.type == name}
        steps = [known.get(step) for step in range(cls.version - 1, version - 1, -1)]
        if version > cls.version or None in steps:
            raise ValueError(f"{name} cannot be written as version {version}")
        return tuple(step for step in steps if step is not None)

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
MEMBERS: Final = Topic(
    "contacts.members",
    "contacts",
    (
        contacts.MemberRegistered,
        contacts.MemberChanged,
        contacts.MemberDeactivated,
        contacts.MemberReactivated,
    ),
)
SCORES: Final = Topic("analytics.scores", "analytics", (analytics.ScoreMoved,))
DEALS: Final = Topic(
    "sales.deals",
    "sales",
    (
        sales.DealOpened,
        sales.DealStageChanged,
        sales.DealAmountChanged,
        sales.DealCloseDateChanged,
        sales.DealProductsChanged,
        sales.DealWon,
        sales.DealLost,
        sales.DealReopened,
        sales.DealReassigned,
        sales.DealRotted,
    ),
)
TASKS: Final = Topic(
    "sales.tasks", "sales", (sales.TaskOpened, sales.TaskDone, sales.TaskReassigned)
)

CONTRACT: Final = Contract(
    (PEOPLE, ACTIVITY, PURCHASES, MEMBERS, SCORES, DEALS, TASKS),
    downcasters=DOWNCASTERS,
    writes=WRITES,
)

HEARD_BY: Final[Mapping[str, tuple[Topic, ...]]] = MappingProxyType(
    {
        "contacts": (SCORES,),
        "analytics": (PEOPLE, ACTIVITY, PURCHASES),
        "sales": (PEOPLE, MEMBERS),
    }
)
"""What each service of ours hears of the others. Anybody else may hear any of it."""

KEYS_TOPIC: Final = "contacts.keys"
"""Compacted; a record is a `SubjectKeyRecord` under its key id. Not a contract topic."""
KEYS_PARTITIONS: Final = 12
KEYS_PUBLISHER: Final = "contacts"
"""Every other service hears them."""
