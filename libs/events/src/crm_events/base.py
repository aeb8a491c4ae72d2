"""The base of every event: a frozen fact with a wire type and a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from crm_events.personal import HIDDEN, is_personal

if TYPE_CHECKING:
    from collections.abc import Iterable


class Value(BaseModel):
    """A frozen part of an event. Unknown fields are ignored, so that publishers may add some."""

    # A validation error must not show what was personal; a number that is none has no JSON.
    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show a personal field as ***, opened or not."""
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            yield name, HIDDEN if name in fields and is_personal(fields[name]) else value


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
        cls,
        *,
        type: str = "",  # noqa: A002  # the word of the wire
        version: int = 1,
        subject: str | None = None,
        **kwargs: Any,  # noqa: ANN401  # pydantic's own
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if type:
            cls.type, cls.version, cls.subject = type, version, subject

    def __init_subclass__(
        cls,
        *,
        type: str = "",  # noqa: A002
        version: int = 1,
        subject: str | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        # pydantic hands the class keywords to __pydantic_init_subclass__ as well.
        super().__init_subclass__(**kwargs)
