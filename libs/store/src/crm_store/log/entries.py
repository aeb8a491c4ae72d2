"""What goes into the log, and what can keep it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from crm_events.base import Event

    from crm_store.log.position import Position


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event about to be appended; id and time were given at the edge."""

    event: Event
    event_id: UUID
    occurred_at: datetime  # aware
    partition_key: UUID  # the customer id, else the stream id
    meta: Mapping[str, str] = field(
        default_factory=dict[str, str]
    )  # correlationid, causationid, traceparent


@dataclass(frozen=True, slots=True)
class StreamAppend:
    """Events for one stream, decided on its version `expected_version` (0: it is new)."""

    stream_id: UUID
    expected_version: int
    events: tuple[NewEvent, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What needs no decision: a stream of one event. The same stream id again is a duplicate."""

    stream_id: UUID
    event: NewEvent


@dataclass(frozen=True, slots=True)
class Reservation:
    """`holder` is the only one to have (kind, digest)."""

    kind: str
    digest: bytes
    holder: UUID


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with `$1...` placeholders and its arguments."""

    sql: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did. `position` is of the last row, None where every fact was known."""

    position: Position | None
    inserted: frozenset[UUID]  # stream ids
    duplicates: frozenset[UUID]  # stream ids of facts that had been appended before


class VersionConflictError(Exception):
    """The stream moved on since it was read."""

    def __init__(self, stream_id: UUID) -> None:
        super().__init__(f"stream {stream_id} moved on")
        self.stream_id = stream_id


class ReservedError(Exception):
    """Another stream holds what was to be reserved."""

    def __init__(self, kind: str, holder: UUID) -> None:
        super().__init__(f"this {kind} is held by {holder}")
        self.kind = kind
        self.holder = holder


class EventTooLargeError(Exception):
    """The event, sealed and with its headers, is above what the log and Kafka take."""

    def __init__(self, event_id: UUID, size: int, limit: int) -> None:
        super().__init__(f"event {event_id} takes {size} bytes, the limit is {limit}")
        self.event_id = event_id
        self.size = size
        self.limit = limit
