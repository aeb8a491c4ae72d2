"""What a message says about who is who, as decisions on a draft of people. Pure."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from crm_events.contacts import Identifier, LinkReason, Namespace

from contacts.collector.segment import Kind
from contacts.people.decider import (
    AlreadyLinked,
    ChangePerson,
    IdentifyPerson,
    LinkTooDeep,
    LinkToSelf,
    TooManyIdentifiers,
)

if TYPE_CHECKING:
    from uuid import UUID

    from contacts.collector.segment import Message
    from contacts.people.draft import Cause, Draft


def identifiers_of(message: Message) -> tuple[Identifier, ...]:
    """Every identifier that has to be looked up for the message."""
    named = [message.bearer]
    if message.tells_who:
        named += [one for one in (message.anonymous, message.mail) if one is not None]
        if message.previous is not None:
            named += _former(message.previous)
    return tuple(named)


def follow(message: Message, draft: Draft, *, cause: Cause) -> UUID:
    """The customer the fact belongs to; whatever else the message says is decided on the draft.

    An unknown bearer is registered. What cannot be done without taking an identifier from
    someone, or a link from another, is left: the fact itself still says what was sent.

    Raises:
        Refusal: the message cannot be taken at all; nothing was decided.
    """
    customer_id = draft.holder(message.bearer)
    if not message.tells_who:
        if customer_id is None:
            return draft.register(message.bearer, cause=cause)
        return customer_id
    if customer_id is None:
        customer_id = draft.register(
            *_unclaimed(message, draft), cause=cause, profile=message.traits
        )
    elif message.traits:
        draft.apply(ChangePerson(customer_id, message.traits), cause)
    if message.kind == Kind.ALIAS:
        _join_former(message, customer_id, draft, cause)
    else:
        _join_visitor(message, customer_id, draft, cause)
        _join_mail(message, customer_id, draft, cause)
    return customer_id


def _unclaimed(message: Message, draft: Draft) -> list[Identifier]:
    """What a new customer is known by: the bearer, and what is nobody's yet."""
    named = [message.bearer]
    if message.kind == Kind.IDENTIFY:
        named += [
            one
            for one in (message.anonymous, message.mail)
            if one is not None and one != message.bearer and draft.holder(one) is None
        ]
    return named


def _join_visitor(message: Message, customer_id: UUID, draft: Draft, cause: Cause) -> None:
    """The anonymous history becomes part of the person's, unless it is another user's."""
    if message.user is None or message.anonymous is None:
        return
    visitor = draft.holder(message.anonymous)
    if visitor is None:
        _add(message.anonymous, customer_id, draft, cause)
    elif not draft.person(visitor).known_by(Namespace.USER):
        _link(visitor, customer_id, LinkReason.IDENTIFIED, draft, cause)


def _join_mail(message: Message, customer_id: UUID, draft: Draft, cause: Cause) -> None:
    """Who was known by this mail and no account is the same person."""
    if message.mail is None:
        return
    owner = draft.holder(message.mail)
    if owner is None:
        _add(message.mail, customer_id, draft, cause)
    elif not draft.person(owner).known_by(Namespace.USER):
        _link(owner, customer_id, LinkReason.SAME_MAIL, draft, cause)


def _join_former(message: Message, customer_id: UUID, draft: Draft, cause: Cause) -> None:
    """Two ids are one, says the site: the former's history joins the present one's."""
    former = _former(message.previous or "")
    holders = (draft.holder(one) for one in former)
    holder = next((one for one in holders if one is not None), None)
    if holder is None:
        _add(former[0], customer_id, draft, cause)
    else:
        _link(holder, customer_id, LinkReason.ALIASED, draft, cause)


def _former(previous: str) -> list[Identifier]:
    """A former id was a visitor's, as a rule, or else a user's."""
    return [
        Identifier(namespace=namespace, value=previous, given=previous)
        for namespace in (Namespace.ANONYMOUS, Namespace.USER)
    ]


def _add(identifier: Identifier, customer_id: UUID, draft: Draft, cause: Cause) -> None:
    with suppress(TooManyIdentifiers):
        draft.apply(IdentifyPerson(customer_id, identifier), cause)


def _link(  # who, into whom, why, and where it is noted
    customer_id: UUID, into: UUID, reason: LinkReason, draft: Draft, cause: Cause
) -> None:
    with suppress(AlreadyLinked, LinkToSelf, LinkTooDeep):
        draft.link(customer_id, into, reason, cause=cause)
