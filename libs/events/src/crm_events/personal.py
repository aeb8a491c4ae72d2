"""Personal data as a type: what is sealed at append, and what a reader sees instead of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeVar, final

from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.fields import FieldInfo
    from pydantic.json_schema import JsonSchemaValue

T = TypeVar("T")


class Hidden:
    """A value that is not shown. Two kinds stand for one, each with a single instance."""

    __slots__ = ()

    SCHEMA: ClassVar[JsonSchemaValue] = {"not": {}}
    """Nothing hidden is ever written: see `crm_events.schemas`."""

    def __repr__(self) -> str:
        return "***"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(cls.SCHEMA)


@final
class Sealed(Hidden):
    """Personal and not opened: the reader did not ask, or the value was never set."""

    __slots__ = ()


@final
class Erased(Hidden):
    """Personal and gone: the key of its subject was destroyed."""

    __slots__ = ()


HIDDEN: Final = Hidden()
"""What `repr` shows for a personal field."""
SEALED: Final = Sealed()
ERASED: Final = Erased()


@dataclass(frozen=True, slots=True)
class PersonalMark:
    """Marks a field as personal. It belongs to the event's customer (see `Event.subject`)."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Name it in a JSON Schema."""
        return {**handler(schema), "x-personal": True}


Personal = Annotated[T | Sealed | Erased, PersonalMark()]
"""`Personal[str]` reads as `str`, or `SEALED` where nobody opened it, or `ERASED`."""


def opened(value: T | Sealed | Erased) -> T | None:
    """The value of a personal field; None where it is hidden."""
    return None if isinstance(value, Hidden) else value


def is_personal(field: FieldInfo) -> bool:
    """Say whether a field of a model is `Personal[...]`."""
    return any(isinstance(mark, PersonalMark) for mark in field.metadata)
