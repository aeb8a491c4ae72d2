"""Decisions about people that belong together, gathered before one append. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from crm_events.contacts import PersonIdentified, PersonRegistered
from crm_store.log.entries import NewEvent, Reservation, StreamAppend

from contacts.people.decider import (
    MAX_LINEAGE,
    NOBODY,
    LinkPerson,
    Person,
    RegisterPerson,
    decide,
    evolve,
)
from contacts.people.identifiers import digest, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from crm_events.contacts import Identifier, LinkReason

    from contacts.people.decider import PersonCommand, PersonEvent
    from contacts.people.identifiers import Name


@dataclass(frozen=True, slots=True)
class Loaded:
    """A person as the log has them, and at which version of their stream."""

    person: Person
    version: int


@dataclass(frozen=True, slots=True)
class Cause:
    """What led to a decision: when it happened, and what travels with its events."""

    occurred_at: datetime
    meta: Mapping[str, str] = field(default_factory=dict[str, str])


ABSENT: Final = Loaded(NOBODY, 0)


class Draft:
    """People as they are, and as they shall be: commands are decided on what went before.

    `holders` says whose the identifiers are that were looked up; an identifier that is not among
    them counts as nobody's, and its reservation finds out. A person that a command names must
    have been loaded, else it counts as unknown, and the stream's version finds out. `epoch` is the
    log's when this was read.
    """

    def __init__(
        self,
        *,
        holders: Mapping[Name, UUID],
        people: Mapping[UUID, Loaded],
        epoch: int,
        digest_key: bytes,
        mint_id: Callable[[], UUID],
    ) -> None:
        self.epoch = epoch
        self._holders = dict(holders)
        self._people: dict[UUID, Loaded] = dict(people)
        self._persons: dict[UUID, Person] = {}
        self._digest_key = digest_key
        self._mint_id = mint_id
        self._events: dict[UUID, list[NewEvent]] = {}
        self._guarded: set[UUID] = set()
        self._reservations: dict[bytes, Reservation] = {}
        self._registered: list[UUID] = []

    def holder(self, identifier: Identifier) -> UUID | None:
        """The customer the identifier leads to, None where it is nobody's."""
        return self._holders.get(name_of(identifier))

    def person(self, customer_id: UUID) -> Person:
        """The person with what was decided here already."""
        known = self._persons.get(customer_id)
        return self._people.get(customer_id, ABSENT).person if known is None else known

    def version(self, customer_id: UUID) -> int:
        """The version of the person's stream once this is appended."""
        loaded = self._people.get(customer_id, ABSENT).version
        return loaded + len(self._events.get(customer_id, ()))

    def register(
        self, *identifiers: Identifier, cause: Cause, profile: Mapping[str, Any] | None = None
    ) -> UUID:
        """Open a customer under a fresh id. Raises what `decide` raises."""
        customer_id = self._mint_id()
        command = RegisterPerson(customer_id, identifiers=identifiers, profile=profile or {})
        self.apply(command, cause)
        return customer_id

    def link(self, customer_id: UUID, into: UUID, reason: LinkReason, *, cause: Cause) -> None:
        """Link, seeing to it that no link closes a circle. Raises what `decide` raises."""
        lineage = self.lineage(into)
        made = self.apply(LinkPerson(customer_id, into, reason, lineage), cause)
        if made:
            # A link elsewhere in the line, made at the same time, would not touch this stream.
            self._guarded.update(lineage)

    def lineage(self, customer_id: UUID) -> tuple[UUID, ...]:
        """The customer, whom it is linked into, and so on, at most 16; () where it is unknown."""
        if self.person(customer_id).customer_id is None:
            return ()
        line = [customer_id]
        while len(line) < MAX_LINEAGE and (into := self.person(line[-1]).into) is not None:
            line.append(into)
        return tuple(line)

    def apply(self, command: PersonCommand, cause: Cause) -> tuple[PersonEvent, ...]:
        """Decide, and note what follows: events, reservations, keys. Raises what `decide` does."""
        customer_id = command.customer_id
        state = self.person(customer_id)
        events = decide(command, state)
        for event in events:
            state = evolve(state, event)
            self._note(customer_id, event, cause)
        self._persons[customer_id] = state
        return events

    def cause_of(self, event_id: UUID) -> UUID:
        """The event that led to one of the draft's own, by its meta. KeyError: not one of them."""
        for events in self._events.values():
            for new in events:
                if new.event_id == event_id:
                    return UUID(new.meta["causationid"])
        raise KeyError(event_id)

    @property
    def registered(self) -> tuple[UUID, ...]:
        """Customer ids that were minted here; each needs a subject key."""
        return tuple(self._registered)

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        # In one order everywhere, so that two writers of the same never wait for each other.
        return tuple(self._reservations[key] for key in sorted(self._reservations))

    @property
    def streams(self) -> tuple[StreamAppend, ...]:
        """One append for each stream that changes, and an empty one for each that must not."""
        return tuple(
            StreamAppend(
                customer_id,
                self._people.get(customer_id, ABSENT).version,
                tuple(self._events.get(customer_id, ())),
            )
            for customer_id in (*self._events, *(self._guarded - self._events.keys()))
        )

    def _note(self, customer_id: UUID, event: PersonEvent, cause: Cause) -> None:
        self._events.setdefault(customer_id, []).append(
            NewEvent(
                event=event,
                event_id=self._mint_id(),
                occurred_at=cause.occurred_at,
                partition_key=customer_id,
                meta=cause.meta,
            )
        )
        match event:
            case PersonRegistered():
                self._registered.append(customer_id)
                for one in event.identifiers:
                    self._reserve(customer_id, one)
            case PersonIdentified():
                self._reserve(customer_id, event.identifier)
            case _:
                pass

    def _reserve(self, customer_id: UUID, identifier: Identifier) -> None:
        name = name_of(identifier)
        self._holders[name] = customer_id
        found = digest(*name, key=self._digest_key)
        self._reservations[found] = Reservation(identifier.namespace, found, customer_id)
