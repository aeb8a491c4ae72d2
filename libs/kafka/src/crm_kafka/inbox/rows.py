"""A Kafka record as the row of the log that it becomes, or as what stands in its place."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import orjson
from crm_events.codec import read_headers
from crm_events.errors import BadEnvelopeError, UnreadableRecordError
from crm_store.log.logged import QUARANTINED

from crm_kafka.inbox.envelope import Envelope, as_text, envelope, quick_envelopes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord

NOT_UUID_KEYS: Final = UUID("0f5c1f0e-6d0b-5c1a-9b63-5a0c1f7d2e48")
"""Namespace of the partition keys derived from record keys that are no UUID."""

SEPARATOR: Final = "\x1e"
"""Between the values of a batch, which are one text; JSON has no place for it."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_MS: Final = 253_402_300_799_000  # the year 9999


class Heard(NamedTuple):
    """A polled record, its number and event id (None where they cannot be read), its envelope."""

    offset: int
    sequence: int | None
    event_id: str | None
    record: ConsumerRecord[bytes, bytes]
    envelope: Envelope | BadEnvelopeError | None


class Row(NamedTuple):
    """What the log gets of a record, as text."""

    topic: str
    partition: int
    offset: int
    envelope: Envelope
    data: str  # JSON, as written


class Aside(NamedTuple):
    """What is kept of a record that the log cannot hold, and the row in its place."""

    row: Row
    key: bytes | None
    value: bytes | None
    headers: str  # JSON
    reason: str


def hear(record: ConsumerRecord[bytes, bytes]) -> Heard:
    """Read a record's envelope; never raises."""
    try:
        read = envelope(record.key, record.headers)
    except BadEnvelopeError as flaw:
        return Heard(record.offset, flaw.sequence, str(flaw.event_id), record, flaw)
    except UnreadableRecordError:
        return Heard(record.offset, None, None, record, None)
    return Heard(record.offset, read.sequence, read.event_id, record, read)


def hear_each(records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[Heard]:
    """Read the envelopes of some records; never raises."""
    read = quick_envelopes(
        [record.key for record in records], [record.headers for record in records]
    )
    if read is None:
        return [hear(record) for record in records]
    return [
        Heard(record.offset, each.sequence, each.event_id, record, each)
        for record, each in zip(records, read, strict=True)
    ]


def row_of(heard: Heard) -> Row | Aside:
    """The row of a record whose number is readable, or what is kept of it and why."""
    record, read = heard.record, heard.envelope
    if not isinstance(read, Envelope):
        return set_aside(record, str(read))
    value = record.value
    if not value:
        return set_aside(record, "there is no value")
    if b"\0" in value:
        return set_aside(record, "the value holds a NUL")
    try:
        data = value.decode()
    except UnicodeDecodeError:
        return set_aside(record, "the value is not UTF-8")
    if SEPARATOR in data:
        return set_aside(record, "the value is not JSON: it holds U+001E")
    return Row(record.topic, record.partition, record.offset, read, data)


def set_aside(record: ConsumerRecord[bytes, bytes], reason: str) -> Aside:
    """Keep a record's bytes, and let an empty row with its number, ids and key stand for it.

    Raises UnreadableRecordError: it has no number.
    """
    try:
        place = as_text(read_headers(record.key, record.headers))
    except BadEnvelopeError as flaw:
        # The stream and the times may be what cannot be read: the event is a stream of its own.
        written_at = EPOCH + timedelta(milliseconds=min(max(record.timestamp, 0), LATEST_MS))
        place = Envelope(
            sequence=flaw.sequence,
            event_id=str(flaw.event_id),
            stream_id=str(flaw.event_id),
            version="1",
            type=QUARANTINED,
            schema_version="1",
            partition_key=str(flaw.partition_key or _derived_key(record.key)),
            occurred_at=written_at.isoformat(),
            recorded_at=written_at.isoformat(),
            meta=None,
        )
    place = place._replace(type=QUARANTINED, schema_version="1", meta=None)
    return Aside(
        row=Row(record.topic, record.partition, record.offset, place, "{}"),
        key=record.key,
        value=record.value,
        headers=orjson.dumps([_legible(*header) for header in record.headers]).decode(),
        reason=reason,
    )


def _derived_key(key: bytes | None) -> UUID:
    """UUIDv5 of the key's bytes: events of one unreadable key keep together."""
    digest = hashlib.sha1(NOT_UUID_KEYS.bytes + (key or b""), usedforsecurity=False).digest()
    return UUID(bytes=digest[:16], version=5)


def _legible(name: str, content: bytes | None) -> Sequence[str | None]:
    """Name and text of a header; what is no text for PostgreSQL as base64, third."""
    name = name.encode(errors="replace").decode().replace("\0", "?")
    if content is None:
        return (name, None)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return (name, None, base64.b64encode(content).decode())
    return (name, text)
