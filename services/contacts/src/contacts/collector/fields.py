"""Fields of a call: ids, instants, objects and names, each read or refused by its name. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from crm_events.contacts import Identifier, Namespace
from crm_events.errors import BadInputError

from contacts.people.identifiers import MAX_ID_BYTES, IdentifierInvalidError, check_id

if TYPE_CHECKING:
    from collections.abc import Mapping


EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Times from the first on and before the second are taken; the ends of what Python and PostgreSQL
know stand for infinity in one of them."""


def instant(text: object, pointer: str) -> datetime:
    """ISO 8601 as an aware instant; without an offset it is UTC.

    Raises:
        BadInputError: it is none, or lies outside the years 1900 to 2199.
    """
    if not isinstance(text, str):
        raise BadInputError(pointer, "is no ISO 8601 instant", "invalid-timestamp")
    try:
        read = datetime.fromisoformat(text.strip())
        read = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadInputError(pointer, "is no ISO 8601 instant", "invalid-timestamp") from error
    return within_years(read, pointer)


def within_years(at: datetime, pointer: str) -> datetime:
    """The instant itself.

    Raises:
        BadInputError: it lies outside the years 1900 to 2199.
    """
    if not EARLIEST <= at < LATEST:
        raise BadInputError(pointer, "is not within the years 1900 to 2199", "invalid-timestamp")
    return at


def object_in(call: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = call.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInputError(f"/{name}", "is no JSON object", "invalid-field")
    return cast("dict[str, Any]", value)


def id_in(call: Mapping[str, Any], name: str) -> str | None:
    """An id as text; null and "" are none; whole numbers are their digits, as SDKs send them."""
    value = call.get(name)
    match value:
        case None | "":
            return None
        case bool():
            pass
        case str():
            return _checked(value, name)
        case int():
            return str(value)
        case _:
            pass
    raise BadInputError(f"/{name}", "an id is text or a whole number", "invalid-id")


def _checked(value: str, name: str) -> str:
    try:
        return check_id(Namespace.USER, value)
    except IdentifierInvalidError as error:
        raise BadInputError(f"/{name}", error.reason, "invalid-id") from error


def identifier_in(call: Mapping[str, Any], name: str, namespace: Namespace) -> Identifier | None:
    value = id_in(call, name)
    return None if value is None else Identifier(namespace=namespace, value=value, given=value)


def required_id(call: Mapping[str, Any], name: str) -> str:
    found = id_in(call, name)
    if found is None:
        raise BadInputError(f"/{name}", "is missing", "missing-id")
    return found


def text_in(call: Mapping[str, Any], field: str = "name") -> str | None:
    value = call.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadInputError(f"/{field}", "is no text", "invalid-field")
    if len(value.encode()) > MAX_ID_BYTES:
        raise BadInputError(f"/{field}", f"is above {MAX_ID_BYTES} bytes", "invalid-field")
    return value
