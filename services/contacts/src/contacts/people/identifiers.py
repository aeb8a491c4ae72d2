"""Identifiers: how each kind is normalised, and the digest under which it is looked up."""

from __future__ import annotations

import hmac
import unicodedata
from typing import TYPE_CHECKING, Final, assert_never

import phonenumbers
from crm_events.contacts import Identifier, Namespace
from email_validator import EmailNotValidError, validate_email

if TYPE_CHECKING:
    from collections.abc import Iterable

Name = tuple[Namespace, str]
"""Namespace and normalised value: within all of them it is one person's."""

MAX_ID_BYTES: Final = 255
MAX_PHONE_CHARACTERS: Final = 64
CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories no id may hold: control characters, lone surrogates, line breaks."""


class IdentifierInvalidError(ValueError):
    """The value is no identifier of its namespace; the text says why and never repeats it."""

    def __init__(self, namespace: Namespace, reason: str) -> None:
        super().__init__(reason)
        self.namespace = namespace
        self.reason = reason


def identifier(namespace: Namespace, given: str, *, region: str | None) -> Identifier:
    """The identifier behind what was given.

    Mail: the domain in lower case and in Unicode, the local part in lower case, because no
    provider that people use tells `Ann@` from `ann@`; dots and `+tags` stay, for some do tell
    those apart, and `ß` stays, which is not `ss`. Phone: E.164; a number without its country is
    read as one of `region` (ISO 3166, None: refused). Ids of users and visitors stay as they are.

    Raises:
        IdentifierInvalidError: it is none.
    """
    return Identifier(namespace=namespace, value=_normalised(namespace, given, region), given=given)


def check_id(namespace: Namespace, given: str) -> str:
    """The id of a user or visitor, as it is.

    Raises:
        IdentifierInvalidError: it is empty, above 255 bytes, or holds control characters.
    """
    if not given or given.isspace():
        raise IdentifierInvalidError(namespace, "is empty")
    # What is printable holds none of them, and nearly every id is.
    if not given.isprintable() and any(unicodedata.category(one) in CONTROL for one in given):
        raise IdentifierInvalidError(namespace, "holds control characters")
    if len(given.encode()) > MAX_ID_BYTES:
        raise IdentifierInvalidError(namespace, f"is above {MAX_ID_BYTES} bytes")
    return given


def digest(namespace: str, value: str, *, key: bytes) -> bytes:
    """HMAC-SHA256 of a normalised identifier under the deployment's digest key, 32 bytes.

    The namespace is part of the text, so that a mail used as a user id is another identifier.
    """
    return hmac.digest(key, f"{namespace}\x1f{value}".encode(), "sha256")


def name_of(identifier: Identifier) -> Name:
    """What tells the identifier from all others."""
    return identifier.namespace, str(identifier.value)


def distinct(identifiers: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Each identifier once."""
    return tuple({name_of(one): one for one in identifiers}.values())


def _normalised(namespace: Namespace, given: str, region: str | None) -> str:
    match namespace:
        case Namespace.MAIL:
            return _mail(given)
        case Namespace.PHONE:
            return _phone(given, region)
        case Namespace.USER | Namespace.ANONYMOUS:
            return check_id(namespace, given)
        case _:
            assert_never(namespace)


def _mail(given: str) -> str:
    if len(given) > MAX_ID_BYTES:
        raise IdentifierInvalidError(Namespace.MAIL, f"is above {MAX_ID_BYTES} characters")
    try:
        checked = validate_email(
            given.strip(),
            check_deliverability=False,
            allow_smtputf8=True,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            test_environment=True,  # example.test and the like are mails of tests and demos
        )
    except EmailNotValidError as error:
        raise IdentifierInvalidError(Namespace.MAIL, "is no mail address") from error
    return f"{checked.local_part.lower()}@{checked.domain.lower()}"


def _phone(given: str, region: str | None) -> str:
    if len(given) > MAX_PHONE_CHARACTERS:
        raise IdentifierInvalidError(Namespace.PHONE, f"is above {MAX_PHONE_CHARACTERS} characters")
    try:
        number = phonenumbers.parse(given, region)
    except phonenumbers.NumberParseException as error:
        raise IdentifierInvalidError(Namespace.PHONE, "is no phone number") from error
    possible = phonenumbers.is_possible_number_with_reason(number)
    if number.extension or possible != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise IdentifierInvalidError(Namespace.PHONE, "is no phone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
