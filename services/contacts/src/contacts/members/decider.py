"""What may happen to a member of the company: commands and state in, events or a refusal out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, assert_never, cast

from crm_deciding.decider import Decider
from crm_deciding.refusal import Refusal
from crm_events.contacts import (
    MemberChanged,
    MemberDeactivated,
    MemberReactivated,
    MemberRegistered,
)
from crm_events.personal import SEALED, opened

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from crm_events.base import Event

MemberEvent = MemberRegistered | MemberChanged | MemberDeactivated | MemberReactivated


@dataclass(frozen=True, slots=True)
class RegisterMember:
    """Enter somebody who works here under a fresh id. `mail` is normalised."""

    member_id: UUID
    name: str
    mail: str


@dataclass(frozen=True, slots=True)
class ChangeMember:
    """None: it stays as it is."""

    name: str | None = None
    mail: str | None = None  # normalised


@dataclass(frozen=True, slots=True)
class DeactivateMember:
    """The member works here no more, or not for now."""


@dataclass(frozen=True, slots=True)
class ReactivateMember:
    """The member works here again, under the mail of before."""


MemberCommand = RegisterMember | ChangeMember | DeactivateMember | ReactivateMember


@dataclass(frozen=True, slots=True)
class Member:
    """What decisions about a member stand on, opened; of one that is not there the state is None.

    A name or mail that was erased is None.
    """

    member_id: UUID
    name: str | None
    mail: str | None
    active: bool = True


class MemberUnknown(Refusal):
    """There is no member under this id."""


class MemberAlreadyRegistered(Refusal):
    """The member id is taken."""


class MemberNotActive(Refusal):
    """The member was deactivated; reactivate them first."""


class MailTaken(Refusal):
    """An active member has this mail."""


def decide(command: MemberCommand, state: Member | None) -> tuple[MemberEvent, ...]:
    """What follows from the command; nothing where it changes nothing.

    That no other active member has the mail is held by its reservation.

    Raises:
        Refusal: one of those above but `MailTaken`.
    """
    match command:
        case RegisterMember(member_id=member_id, name=name, mail=mail):
            if state is not None:
                raise MemberAlreadyRegistered
            return (MemberRegistered(member_id=member_id, name=name, mail=mail),)
        case ChangeMember():
            return _change(command, _known(state))
        case DeactivateMember():
            member = _known(state)
            return (MemberDeactivated(member_id=member.member_id),) if member.active else ()
        case ReactivateMember():
            member = _known(state)
            return () if member.active else (MemberReactivated(member_id=member.member_id),)
        case _:
            assert_never(command)


def evolve(state: Member | None, event: MemberEvent) -> Member | None:
    """The state after the event."""
    match event:
        case MemberRegistered():
            return Member(event.member_id, opened(event.name), opened(event.mail))
        case MemberChanged():
            return state and replace(
                state,
                name=opened(event.name) if "name" in event.fields else state.name,
                mail=opened(event.mail) if "mail" in event.fields else state.mail,
            )
        case MemberDeactivated():
            return state and replace(state, active=False)
        case MemberReactivated():
            return state and replace(state, active=True)
        case _:
            assert_never(event)


def _evolve(state: Member | None, event: Event, _: datetime) -> Member | None:
    return evolve(state, cast("MemberEvent", event))


def _member(event: Event) -> UUID:
    return cast("MemberEvent", event).member_id


MEMBERS: Final = Decider["MemberCommand", "Member | None"](
    name="members",
    initial=None,
    decide=decide,
    evolve=_evolve,
    partition_key=_member,
    opens=True,
)


def _change(command: ChangeMember, member: Member) -> tuple[MemberEvent, ...]:
    name = command.name if command.name not in {None, member.name} else None
    mail = command.mail if command.mail not in {None, member.mail} else None
    told = {"name": name, "mail": mail}
    fields = tuple(field for field, value in told.items() if value is not None)
    if not fields:
        return ()
    if not member.active:
        raise MemberNotActive
    return (
        MemberChanged(
            member_id=member.member_id,
            fields=fields,
            name=SEALED if name is None else name,
            mail=SEALED if mail is None else mail,
        ),
    )


def _known(state: Member | None) -> Member:
    if state is None:
        raise MemberUnknown
    return state
