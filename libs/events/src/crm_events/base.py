"""The base of every event: a frozen fact with a wire type and a version."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen part of an event. Unknown fields are ignored, so that publishers may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64")


class Event(Value):
    """A fact, named in the past tense.

    A subclass states its wire type and version: `class DealWon(Event, type="sales.deal.won",
    version=1)`. `subject` names the field that holds whose personal data the event carries;
    without it they are those of the customer under whose key the event travels.
    """

    type: ClassVar[str]
    version: ClassVar[int]
    subject: ClassVar[str | None] = None

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, type: str = "", version: int = 1, subject: str | None = None, **kwargs: Any
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if type:
            cls.type, cls.version, cls.subject = type, version, subject

    def __init_subclass__(
        cls, *, type: str = "", version: int = 1, subject: str | None = None, **kwargs: Any
    ) -> None:
        # pydantic hands the class keywords to __pydantic_init_subclass__ as well.
        super().__init_subclass__(**kwargs)
