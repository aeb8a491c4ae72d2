"""What may happen to a person: commands and state in, events or a refusal out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, assert_never, cast

from crm_deciding.refusal import Refusal
from crm_events.contacts import (
    Identifier,
    LinkReason,
    PersonChanged,
    PersonIdentified,
    PersonLinked,
    PersonRegistered,
    PersonUnlinked,
)

from contacts.people.identifiers import distinct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from crm_events.contacts import Namespace

MAX_PROFILE_FIELDS: Final = 1_000
MAX_IDENTIFIERS: Final = 1_000
MAX_LINEAGE: Final = 16
"""So many links may lie between a customer and the one whose history holds it all."""

STANDARD_FIELDS: Final = frozenset(
    {
        "address", "age", "avatar", "birthday", "company", "createdAt", "description", "email",
        "firstName", "gender", "id", "lastName", "name", "phone", "title", "username", "website",
    }
)  # fmt: skip
"""Profile fields whose names say nothing about a person; the others are told as "other"."""

PersonEvent = PersonRegistered | PersonChanged | PersonIdentified | PersonLinked | PersonUnlinked


@dataclass(frozen=True, slots=True)
class RegisterPerson:
    """Open a customer under a fresh id, known by at least one identifier."""

    customer_id: UUID
    identifiers: tuple[Identifier, ...]
    profile: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class ChangePerson:
    """Set profile fields; None clears one, a field that is absent stays."""

    customer_id: UUID
    profile: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IdentifyPerson:
    """Add an identifier. That it belongs to nobody else is held by its reservation."""

    customer_id: UUID
    identifier: Identifier


@dataclass(frozen=True, slots=True)
class LinkPerson:
    """Let the history of `customer_id` belong to `into`.

    `lineage` is `into` and whom that is linked into, up to the one that is linked into nobody;
    empty where nobody is registered under `into`.
    """

    customer_id: UUID
    into: UUID
    reason: LinkReason
    lineage: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class UnlinkPerson:
    customer_id: UUID


PersonCommand = RegisterPerson | ChangePerson | IdentifyPerson | LinkPerson | UnlinkPerson


@dataclass(frozen=True, slots=True)
class Person:
    """What decisions about a person stand on. `profile` and identifiers are opened."""

    customer_id: UUID | None = None  # None: nobody was registered under this id
    identifiers: frozenset[tuple[Namespace, str]] = frozenset()
    profile: Mapping[str, Any] = field(default_factory=dict[str, Any])
    into: UUID | None = None

    def known_by(self, namespace: Namespace) -> bool:
        """Whether the person has an identifier of this kind."""
        return any(own == namespace for own, _ in self.identifiers)


NOBODY: Final = Person()


class PersonUnknown(Refusal):
    """Nobody is registered under this customer id."""


class PersonAlreadyRegistered(Refusal):
    """The customer id is taken."""


class IdentifierMissing(Refusal):
    """A person is registered with at least one identifier."""


class TooManyIdentifiers(Refusal):
    """A person has at most 1,000 identifiers."""


class ProfileTooLarge(Refusal):
    """A profile has at most 1,000 fields."""


class LinkToSelf(Refusal):
    """A customer cannot be linked into itself, nor into one that is linked into it."""


class LinkTargetUnknown(Refusal):
    """Nobody is registered under the customer id to link into."""


class LinkTooDeep(Refusal):
    """More than 16 links would lie one behind the other."""


class AlreadyLinked(Refusal):
    """The customer is linked into another one already; take that link back first."""


class NotLinked(Refusal):
    """The customer is linked into nobody."""


def decide(command: PersonCommand, state: Person) -> tuple[PersonEvent, ...]:
    """What follows from the command; nothing where it changes nothing.

    Raises:
        Refusal: one of those above.
    """
    match command:
        case RegisterPerson():
            return _register(command, state)
        case ChangePerson():
            return _change(command, _registered(state))
        case IdentifyPerson():
            return _identify(command, _registered(state))
        case LinkPerson():
            return _link(command, _registered(state))
        case UnlinkPerson(customer_id=customer_id):
            was_into = _registered(state).into
            if was_into is None:
                raise NotLinked
            return (PersonUnlinked(customer_id=customer_id, was_into=was_into),)
        case _:
            assert_never(command)


def evolve(state: Person, event: PersonEvent) -> Person:
    """The state after the event. Values that were erased count as absent."""
    match event:
        case PersonRegistered():
            return Person(
                customer_id=event.customer_id,
                identifiers=frozenset(_known(event.identifiers)),
                profile=_opened(event.profile),
            )
        case PersonChanged():
            return replace(state, profile=_merged(state.profile, _opened(event.profile)))
        case PersonIdentified():
            return replace(state, identifiers=state.identifiers | _known((event.identifier,)))
        case PersonLinked():
            return replace(state, into=event.into)
        case PersonUnlinked():
            return replace(state, into=None)
        case _:
            assert_never(event)


def _register(command: RegisterPerson, state: Person) -> tuple[PersonEvent, ...]:
    if state.customer_id is not None:
        raise PersonAlreadyRegistered
    if not command.identifiers:
        raise IdentifierMissing
    if len(command.identifiers) > MAX_IDENTIFIERS:
        raise TooManyIdentifiers
    if len(command.profile) > MAX_PROFILE_FIELDS:
        raise ProfileTooLarge
    return (
        PersonRegistered(
            customer_id=command.customer_id,
            identifiers=distinct(command.identifiers),
            profile={name: value for name, value in command.profile.items() if value is not None},
        ),
    )


def _change(command: ChangePerson, state: Person) -> tuple[PersonEvent, ...]:
    changed = {
        name: value
        for name, value in command.profile.items()
        if not _same(value, state.profile.get(name))
    }
    if not changed:
        return ()
    if len(_merged(state.profile, changed)) > MAX_PROFILE_FIELDS:
        raise ProfileTooLarge
    names = {name if name in STANDARD_FIELDS else "other" for name in changed}
    return (
        PersonChanged(
            customer_id=command.customer_id, fields=tuple(sorted(names)), profile=changed
        ),
    )


def _identify(command: IdentifyPerson, state: Person) -> tuple[PersonEvent, ...]:
    if _known((command.identifier,)) <= state.identifiers:
        return ()
    if len(state.identifiers) >= MAX_IDENTIFIERS:
        raise TooManyIdentifiers
    return (PersonIdentified(customer_id=command.customer_id, identifier=command.identifier),)


def _link(command: LinkPerson, state: Person) -> tuple[PersonEvent, ...]:
    if command.customer_id == command.into or command.customer_id in command.lineage:
        raise LinkToSelf
    if not command.lineage:
        raise LinkTargetUnknown
    if state.into == command.into:
        return ()
    if state.into is not None:
        raise AlreadyLinked
    if len(command.lineage) >= MAX_LINEAGE:
        raise LinkTooDeep
    return (
        PersonLinked(customer_id=command.customer_id, into=command.into, reason=command.reason),
    )


def _registered(state: Person) -> Person:
    if state.customer_id is None:
        raise PersonUnknown
    return state


def _known(identifiers: tuple[Identifier, ...]) -> frozenset[tuple[Namespace, str]]:
    return frozenset(
        (one.namespace, one.value) for one in identifiers if isinstance(one.value, str)
    )


def _opened(profile: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", profile) if isinstance(profile, dict) else {}


def _merged(profile: Mapping[str, Any], changed: Mapping[str, Any]) -> Mapping[str, Any]:
    both = {**profile, **changed}
    return {name: value for name, value in both.items() if value is not None}


def _same(left: object, right: object) -> bool:
    """Equal as JSON: for Python 1, 1.0 and True are one and the same."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
