"""What travels around an event: where it stands, when it happened, what caused it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as the log keeps it and as Kafka carries it: an envelope, and data as written.

    `data` is JSON text with personal fields sealed; it is never rewritten on the way. `topic`
    and `partition` are None for a private event; `sequence` is None until the relay numbers it.
    """

    event_id: UUID
    type: str
    schema_version: int
    stream_id: UUID
    stream_version: int
    partition_key: UUID
    occurred_at: datetime
    recorded_at: datetime
    data: str
    topic: str | None = None
    partition: int | None = None
    sequence: int | None = None
    meta: Mapping[str, str] = field(
        default_factory=dict[str, str]
    )  # correlationid, causationid, traceparent
