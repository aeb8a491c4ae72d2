"""What came in one request: messages that can be taken, and those that cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from crm_events.errors import BadInputError

    from contacts.collector.segment import Message


@dataclass(frozen=True, slots=True)
class Numbered:
    """A checked message, as it came, and which of its request's it is."""

    at: int
    raw: Any
    message: Message


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot be taken, and why."""

    at: int
    raw: Any
    error: BadInputError


@dataclass(frozen=True, slots=True)
class Request:
    """What came in one request. With `keeps_refused` what is refused is set aside.

    Without it, a refused message keeps everything out.
    """

    source: str
    received_at: datetime
    messages: tuple[Numbered, ...]
    refused: tuple[Refused, ...]
    keeps_refused: bool
