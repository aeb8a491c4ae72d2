"""What contacts publishes: people, what is observed of them, what they buy, and who works here."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from crm_events.base import Event, Value
from crm_events.money import Amount, Money
from crm_events.personal import SEALED, Personal

MESSAGE_ID_BYTES: Final = 255


def _fitting(message_id: str) -> str:
    if len(message_id.encode()) > MESSAGE_ID_BYTES:
        raise ValueError("a message id has at most 255 bytes")
    return message_id


MessageId = Annotated[
    str, Field(min_length=1, max_length=MESSAGE_ID_BYTES), AfterValidator(_fitting)
]
"""Anything a sender makes unique: never cut, never parsed. At most 255 bytes as UTF-8."""

Properties = dict[str, Any]


class Namespace(StrEnum):
    """Who gave an identifier its meaning. Within a namespace it belongs to one person."""

    USER = "user"  # the id of an account, given by the site or app
    ANONYMOUS = "anonymous"  # a device or browser, given by an SDK
    MAIL = "mail"
    PHONE = "phone"


class Identifier(Value):
    """One way to know a person.

    `value` is normalised, `given` as it arrived; both are personal.
    """

    namespace: Namespace
    value: Personal[str] = SEALED
    given: Personal[str] = SEALED


class LinkReason(StrEnum):
    """Why two customers were found to be one person."""

    IDENTIFIED = "identified"  # an anonymous visitor told who they are
    ALIASED = "aliased"  # the site said that two ids are one
    SAME_MAIL = "same-mail"  # known by mail alone so far
    STATED = "stated"  # a colleague or another system said so


# --- contacts.people -------------------------------------------------------------------------


class PersonRegistered(Event, type="contacts.person.registered", version=1):
    """A customer id was minted, for a person or for a visitor who is not known yet."""

    customer_id: UUID
    identifiers: tuple[Identifier, ...]
    profile: Personal[Properties] = SEALED


class PersonChanged(Event, type="contacts.person.changed", version=1):
    """Profile fields took new values; an explicit null clears one."""

    customer_id: UUID
    fields: tuple[str, ...]  # the standard fields among those changed, others as "other"
    profile: Personal[Properties] = SEALED


class PersonIdentified(Event, type="contacts.person.identified", version=1):
    """One more identifier is known to be this person's."""

    customer_id: UUID
    identifier: Identifier


class PersonLinked(Event, type="contacts.person.linked", version=1):
    """The history of `customer_id` belongs to `into` from now on. Nothing is rewritten."""

    customer_id: UUID
    into: UUID
    reason: LinkReason


class PersonUnlinked(Event, type="contacts.person.unlinked", version=1):
    """A link was taken back: each is again what its own facts say."""

    customer_id: UUID
    was_into: UUID


# --- contacts.activity -----------------------------------------------------------------------


class Hit(Event):
    """What a site or app observed; `message_id` is the sender's and is what deduplicates it."""

    customer_id: UUID
    message_id: MessageId
    source: str  # the name of the write key it came by
    properties: Personal[Properties] = SEALED
    context: Personal[Properties] = SEALED  # network address, device, page, campaign


class PageViewed(Hit, type="contacts.activity.page", version=1):
    name: str | None = None


class ScreenViewed(Hit, type="contacts.activity.screen", version=1):
    name: str | None = None


class EventTracked(Hit, type="contacts.activity.tracked", version=1):
    """Anything else a site or app counts, by the name it gave it."""

    name: str


class TraitsReceived(Hit, type="contacts.activity.identified", version=1):
    """A site or app told who someone is; what followed from it is in contacts.people."""


class GroupJoined(Hit, type="contacts.activity.grouped", version=1):
    """A site or app told to which group (account, company) someone belongs."""

    group_id: str


class IdAliased(Hit, type="contacts.activity.aliased", version=1):
    """A site or app told that a former id and the present one are the same person."""


# --- contacts.purchases ----------------------------------------------------------------------


class Product(Value):
    """One line of an order. Not personal: product ids, names, prices and quantities."""

    product_id: str | None = None
    sku: str | None = None
    name: str | None = None
    category: str | None = None
    price: Amount | None = None  # of one piece, in the order's currency
    quantity: Amount | None = None


class Order(Event):
    customer_id: UUID
    message_id: MessageId
    source: str
    order_id: str
    total: Money
    products: tuple[Product, ...] = ()
    properties: Personal[Properties] = SEALED  # what the sender told besides
    context: Personal[Properties] = SEALED


class OrderCompleted(Order, type="contacts.purchase.completed", version=1):
    """A customer bought something. `total` is positive or zero."""


class OrderRefunded(Order, type="contacts.purchase.refunded", version=1):
    """Money went back for an order, whole or in part. `total` is what went back, positive."""


# --- contacts.members ------------------------------------------------------------------------


class MemberFact(Event):
    """What happened to a member of the company, whose id is the stream's and the key's.

    A member is a subject: name and mail are sealed under a key of the member's own.
    """

    member_id: UUID


class MemberRegistered(
    MemberFact, type="contacts.member.registered", version=1, subject="member_id"
):
    """Somebody works here: deals and other records can be theirs."""

    name: Personal[str] = SEALED
    mail: Personal[str] = SEALED  # normalised; of the active members one has it


class MemberChanged(MemberFact, type="contacts.member.changed", version=1, subject="member_id"):
    """A member took another name or mail; what did not change is absent."""

    fields: tuple[str, ...]  # which: name, mail
    name: Personal[str] = SEALED
    mail: Personal[str] = SEALED


class MemberDeactivated(MemberFact, type="contacts.member.deactivated", version=1):
    """A member works here no more, or not for now; the mail is free for another."""


class MemberReactivated(MemberFact, type="contacts.member.reactivated", version=1):
    """A member works here again."""


# --- contacts.keys (compacted, no sequence) --------------------------------------------------


class SubjectKeyRecord(Value):
    """The key of one subject, wrapped; or the fact that it was destroyed, which wins for ever."""

    key_id: str
    kek_id: str | None = None  # under which key-encryption key it is wrapped
    wrapped: str | None = None  # "<nonce>.<ciphertext>", base64url without padding
    destroyed: AwareDatetime | None = None

    @model_validator(mode="after")
    def is_one_of_both(self) -> Self:
        """A destroyed key keeps nothing of the wrapped one."""
        live = self.wrapped is not None and self.kek_id is not None
        empty = self.wrapped is None and self.kek_id is None
        if not (live if self.destroyed is None else empty):
            raise ValueError("a key is either wrapped, under a key that is named, or destroyed")
        return self
