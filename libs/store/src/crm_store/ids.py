"""Ids: UUIDv7 where one is minted, UUIDv5 where it follows from what it names."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid5

from uuid_utils import compat

if TYPE_CHECKING:
    from uuid import UUID

SEPARATOR = "\x1f"
"""Stands between the parts of a derived id, so that ("a", "bc") is not ("ab", "c")."""


def new_id() -> UUID:
    """A new id, UUIDv7: later ones sort behind earlier ones, which keeps indexes dense."""
    return compat.uuid7()


def derived_id(namespace: UUID, *parts: str) -> UUID:
    """The id that follows from its parts, UUIDv5: the same parts always give the same id.

    A part may hold anything but lone surrogates, which have no UTF-8 (UnicodeEncodeError).
    """
    return uuid5(namespace, SEPARATOR.join(parts))
