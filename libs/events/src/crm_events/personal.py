"""Personal data as a type: what is sealed at append, and what a reader sees instead of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar, final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")


class _Hidden:
    """A value that is not shown. Two kinds exist, each with a single instance."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.is_instance_schema(cls)


@final
class Sealed(_Hidden):
    """Personal and not opened: the reader did not ask, or the value was never set."""

    __slots__ = ()


@final
class Erased(_Hidden):
    """Personal and gone: the key of its subject was destroyed."""

    __slots__ = ()


SEALED: Final = Sealed()
ERASED: Final = Erased()


@dataclass(frozen=True, slots=True)
class PersonalMark:
    """Marks a field as personal. It belongs to the event's customer (see `Event.subject`)."""


Personal = Annotated[T | Sealed | Erased, PersonalMark()]
"""`Personal[str]` reads as `str`, or `SEALED` where nobody opened it, or `ERASED`."""
