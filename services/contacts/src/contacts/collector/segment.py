"""Segment's messages, read: what happened, to whom, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from crm_events.contacts import (
    EventTracked,
    GroupJoined,
    IdAliased,
    Identifier,
    Namespace,
    Order,
    PageViewed,
    ScreenViewed,
    TraitsReceived,
)
from crm_events.errors import BadInputError
from crm_events.gate import LIMITS, check_value

from contacts.collector.fields import (
    id_in,
    identifier_in,
    instant,
    object_in,
    required_id,
    text_in,
    within_years,
)
from contacts.collector.orders import ORDERS, order_fields
from contacts.people.identifiers import IdentifierInvalidError, identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from uuid import UUID

    from crm_events.contacts import Hit

SHARED: Final = ("context", "integrations")
"""What a batch may state once for all of its messages."""


class Kind(StrEnum):
    """The calls of Segment's specification."""

    IDENTIFY = "identify"
    TRACK = "track"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"


READ: Final = frozenset(
    {
        "type", "messageId", "userId", "anonymousId", "timestamp", "originalTimestamp", "sentAt",
        "context", "writeKey",
    }
)  # fmt: skip
"""Fields of every call that are told elsewhere in the fact or its envelope, or must not be kept."""

READ_BY: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.IDENTIFY: frozenset({"traits"}),
    Kind.TRACK: frozenset({"event", "properties"}),
    Kind.PAGE: frozenset({"name", "category", "properties"}),
    Kind.SCREEN: frozenset({"name", "category", "properties"}),
    Kind.GROUP: frozenset({"groupId", "traits"}),
    Kind.ALIAS: frozenset({"previousId"}),
}
"""Those that a call of this kind tells in fields of its own; whatever else it bears is context."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a message beside itself."""

    source: str  # the name of the write key
    received_at: datetime
    sent_at: datetime | None  # by the sender's clock
    mint_id: Callable[[], UUID]  # for a message without an id of its own
    currency: str  # of orders that name none


@dataclass(frozen=True, slots=True)
class PendingFact:
    """A fact but for its customer. `fields` were all checked."""

    kind: type[Hit | Order]
    fields: dict[str, Any]

    def of(self, customer_id: UUID) -> Hit | Order:
        """The fact of this customer."""
        return self.kind(customer_id=customer_id, **self.fields)


@dataclass(frozen=True, slots=True)
class Message:
    """One call, checked."""

    kind: Kind
    message_id: str
    occurred_at: datetime
    user: Identifier | None
    anonymous: Identifier | None
    mail: Identifier | None  # from the traits
    previous: str | None  # alias: the id that was used before
    traits: Mapping[str, Any]  # identify: what it tells about the person
    fact: PendingFact

    @property
    def bearer(self) -> Identifier:
        """The identifier whose customer the fact belongs to."""
        found = self.user or self.anonymous or self.mail
        if found is None:
            raise ValueError("a message without any id was let through")
        return found

    @property
    def tells_who(self) -> bool:
        """Whether decisions about people follow from it, beyond knowing its sender."""
        return self.kind is Kind.IDENTIFY or self.kind is Kind.ALIAS


def read_message(raw: object, *, kind: str | None, arrival: Arrival) -> Message:
    """Say what a call means; `kind` is given by the route, or None in a batch.

    The gate has let `raw` through: `check_message`, or `parse_json` with the batch.

    Raises:
        BadInputError: it cannot be taken; `pointer` names the field within the message.
    """
    if not isinstance(raw, dict):
        raise BadInputError("", "a message is a JSON object", "not-an-object")
    call = cast("dict[str, Any]", raw)
    which = _kind(kind if kind is not None else call.get("type"))
    traits = object_in(call, "traits")
    context = object_in(call, "context")
    message_id = id_in(call, "messageId") or str(arrival.mint_id())
    user = identifier_in(call, "userId", Namespace.USER)
    anonymous = identifier_in(call, "anonymousId", Namespace.ANONYMOUS)
    mail = _mail(traits if which == Kind.IDENTIFY else {}, context)
    if user is None and anonymous is None and mail is None:
        raise BadInputError("/userId", "neither userId nor anonymousId is given", "missing-id")
    return Message(
        kind=which,
        message_id=message_id,
        occurred_at=_occurred_at(call, arrival),
        user=user,
        anonymous=anonymous,
        mail=mail,
        previous=required_id(call, "previousId") if which == Kind.ALIAS else None,
        traits=traits if which == Kind.IDENTIFY else {},
        fact=_fact(which, call, message_id=message_id, context=context, arrival=arrival),
    )


def check_message(raw: object) -> None:
    """Refuse a message of a batch that could not be kept exactly, or is above 256 kB.

    Raises:
        BadInputError: `pointer` names the field within the message.
    """
    check_value(raw)
    if len(orjson.dumps(raw)) > LIMITS.max_bytes:
        raise BadInputError("", f"has more than {LIMITS.max_bytes} bytes", "too-large")


def merged(raw: object, envelope: Mapping[str, Any]) -> object:
    """The message with the context that the batch gives to all of its messages.

    Raises:
        BadInputError: that is no object.
    """
    shared = {name: object_in(envelope, name) for name in SHARED if envelope.get(name)}
    if not shared or not isinstance(raw, dict):
        return raw
    call = cast("dict[str, Any]", raw)
    return {
        **call,
        **{name: {**told, **object_in(call, name)} for name, told in shared.items()},
    }


def _kind(value: object) -> Kind:
    try:
        return Kind(cast("str", value))
    except ValueError as error:
        raise BadInputError("/type", "is no call of Segment's", "unknown-type") from error


def _mail(traits: Mapping[str, Any], context: Mapping[str, Any]) -> Identifier | None:
    """The mail in the traits, where it is one; a trait that is none stays a trait."""
    within: Any = context.get("traits")
    told = cast("dict[str, Any]", within) if isinstance(within, dict) else traits
    for given in (traits.get("email"), told.get("email")):
        if isinstance(given, str):
            try:
                return identifier(Namespace.MAIL, given, region=None)
            except IdentifierInvalidError:
                continue
    return None


def _occurred_at(call: Mapping[str, Any], arrival: Arrival) -> datetime:
    """When it happened, by our clock.

    received_at - (sentAt - originalTimestamp) takes out the error of the sender's clock. Source:
    Segment, "Common fields", timestamp. Without sentAt the sender's word stands.
    """
    name = "originalTimestamp" if call.get("originalTimestamp") is not None else "timestamp"
    if call.get(name) is None:
        return arrival.received_at
    told = instant(call[name], f"/{name}")
    sent_at = arrival.sent_at
    if call.get("sentAt") is not None:
        sent_at = instant(call["sentAt"], "/sentAt")
    if sent_at is None:
        return told if call.get("timestamp") is None else instant(call["timestamp"], "/timestamp")
    # Three instants within three hundred years: their sum cannot overflow, but it may lie outside.
    return within_years(arrival.received_at - (sent_at - told), f"/{name}")


def _fact(
    kind: Kind,
    call: Mapping[str, Any],
    *,
    message_id: str,
    context: dict[str, Any],
    arrival: Arrival,
) -> PendingFact:
    properties = object_in(call, "properties")
    fields: dict[str, Any] = {
        "message_id": message_id,
        "source": arrival.source,
        "properties": properties,
        "context": _besides(kind, call, context),
    }
    match kind:
        case Kind.TRACK:
            return _tracked(call, fields, arrival.currency)
        case Kind.PAGE:
            seen = {"name": text_in(call), "properties": _seen(call, properties)}
            return PendingFact(PageViewed, fields | seen)
        case Kind.SCREEN:
            seen = {"name": text_in(call), "properties": _seen(call, properties)}
            return PendingFact(ScreenViewed, fields | seen)
        case Kind.IDENTIFY:
            return PendingFact(TraitsReceived, fields | {"properties": object_in(call, "traits")})
        case Kind.GROUP:
            group = {
                "group_id": required_id(call, "groupId"),
                "properties": object_in(call, "traits"),
            }
            return PendingFact(GroupJoined, fields | group)
        case Kind.ALIAS:
            former = {"previousId": required_id(call, "previousId")}
            return PendingFact(IdAliased, fields | {"properties": former})


def _tracked(call: Mapping[str, Any], fields: dict[str, Any], currency: str) -> PendingFact:
    name = text_in(call, "event")
    if name is None:
        raise BadInputError("/event", "is missing", "missing-field")
    fact = ORDERS.get(name)
    if fact is None:
        fields["name"] = name
        return PendingFact(EventTracked, fields)
    return PendingFact(fact, fields | order_fields(fields["properties"], currency=currency))


def _seen(call: Mapping[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """A page's properties, with its category, which the specification keeps beside them."""
    category = call.get("category")
    return properties if category is None else {"category": category, **properties}


def _besides(kind: Kind, call: Mapping[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """The context, with what else the call bears: nothing that was sent is lost.

    What the context has under the same name stands; the call's own is then `message.<name>`.
    """
    read = READ | READ_BY[kind]
    kept = {
        name: value
        for name, value in call.items()
        if name not in read and value is not None and value != {}
    }
    if call.get("userId") and call.get("anonymousId"):
        kept["anonymousId"] = call["anonymousId"]
    if not kept:
        return context
    return {
        **{f"message.{name}" if name in context else name: kept[name] for name in kept},
        **context,
    }
