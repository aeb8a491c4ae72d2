"""Events on Kafka: CloudEvents 1.0 in binary mode, the envelope in headers, the data as value.

Source: CloudEvents 1.0.2, and its Kafka protocol binding (ce_ headers are UTF-8 text).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID, SafeUUID

from crm_events.errors import BadEnvelopeError, UnreadableRecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from crm_events.envelope import Recorded

SCHEMA_BASE: Final = "https://kith.invalid/schemas/"
"""`ce_dataschema` is this, the wire type, `/v` and the version. It names, it does not resolve."""

MAX_RECORD_BYTES: Final = 384 * 1024
"""Of a record, by `record_size`. An event of 256 kB fits: sealing makes four bytes of three."""

_SEQUENCE_MAX: Final = 2**63 - 1
_VERSION_MAX: Final = 2**31 - 1  # as the log stores it
_TYPE_BYTES: Final = 255
_TEXT_BYTES: Final = 1024  # of a source or a schema
_BATCH_OVERHEAD: Final = 61  # of a record batch, magic 2
_RECORD_OVERHEAD: Final = 36  # length, attributes, deltas, lengths of key, value, headers
_HEADER_OVERHEAD: Final = 7  # lengths of name and value, each a varint
_SCHEMAS: Final = 4096
_SOURCES: Final = 256

Header = tuple[str, bytes]

_CONSTANT: Final[tuple[Header, ...]] = (
    ("ce_specversion", b"1.0"),
    ("content-type", b"application/json"),
)
META_HEADERS: Final = {
    "correlationid": "ce_correlationid",
    "causationid": "ce_causationid",
    "traceparent": "traceparent",
    "depth": "ce_depth",
}
"""The header of each key of an event's meta that travels with it."""
_REQUIRED: Final = (
    "ce_specversion",
    "ce_source",
    "ce_time",
    "ce_recordedtime",
    "ce_subject",
    "ce_dataschema",
    "ce_streamversion",
)
_KNOWN: Final = frozenset(
    {*_REQUIRED, "ce_id", "ce_type", "ce_sequence", "content-type", *META_HEADERS.values()}
)


class Headers(NamedTuple):
    """The envelope of a record: all that is known of an event without its data.

    A tuple, for one is made per record heard: a frozen dataclass takes three times as long.
    """

    event_id: UUID
    type: str
    sequence: int  # 1 to 2^63 - 1
    source: str  # "/crm/<service>"
    subject: UUID  # the stream
    schema_version: int
    stream_version: int
    occurred_at: datetime  # aware, UTC
    recorded_at: datetime  # aware, UTC
    partition_key: UUID
    meta: Mapping[str, str]  # of correlationid, causationid, traceparent, depth those that came


def to_record(recorded: Recorded, *, publisher: str) -> tuple[bytes, bytes, list[Header]]:
    """Return key, value and headers of the Kafka record of an event that `publisher` recorded.

    Raises:
        ValueError: the event has no sequence yet, or a time without a zone.
    """
    if recorded.sequence is None:
        raise ValueError(f"event {recorded.event_id} has no sequence")
    event_type, schema = _schema_headers(recorded.type, recorded.schema_version)
    headers = [
        *_CONSTANT,
        event_type,
        schema,
        _source_header(publisher),
        ("ce_id", str(recorded.event_id).encode()),
        ("ce_time", _instant(recorded.occurred_at)),
        ("ce_recordedtime", _instant(recorded.recorded_at)),
        ("ce_subject", str(recorded.stream_id).encode()),
        ("ce_streamversion", b"%d" % recorded.stream_version),
        ("ce_sequence", b"%d" % recorded.sequence),
    ]
    if recorded.meta:
        headers += [
            (header, recorded.meta[name].encode())
            for name, header in META_HEADERS.items()
            if name in recorded.meta
        ]
    return str(recorded.partition_key).encode(), recorded.data.encode(), headers


def record_size(key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> int:
    """Return the bytes that a record takes at most, alone in an uncompressed batch."""
    size = _BATCH_OVERHEAD + _RECORD_OVERHEAD + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += _HEADER_OVERHEAD + len(name) + len(content)
    return size


def read_headers(key: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """Return the envelope of a record, as `to_record` of any release wrote it.

    Headers that are not part of it are ignored, and may be there twice.

    Raises:
        UnreadableRecordError: no single readable ce_id, ce_type or ce_sequence.
        BadEnvelopeError: those three are readable, and something else is missing or wrong.
    """
    found = dict(headers)
    twice = _doubled(headers) if len(found) != len(headers) else frozenset[str]()
    event_id, event_type, sequence = _place(found, twice)
    try:
        partition_key = _uuid("the record's key", key)
    except _FlawError as flaw:
        raise BadEnvelopeError(event_id, event_type, sequence, str(flaw)) from None
    try:
        if not twice:
            return _envelope(found, event_id, event_type, sequence, partition_key)
        reason = f"{min(twice)} is there twice"
    except _FlawError as flaw:
        reason = str(flaw)
    raise BadEnvelopeError(event_id, event_type, sequence, reason, partition_key=partition_key)


class _FlawError(Exception):
    """What is wrong with a header, by its name."""


def _doubled(headers: Sequence[tuple[str, bytes | None]]) -> frozenset[str]:
    names = [name for name, _ in headers if name in _KNOWN]
    return frozenset(name for name in names if names.count(name) > 1)


def _place(found: dict[str, bytes | None], twice: frozenset[str]) -> tuple[UUID, str, int]:
    for name in ("ce_id", "ce_type", "ce_sequence"):
        if name in twice:
            raise UnreadableRecordError(f"{name} is there twice")
    try:
        return (
            _uuid("ce_id", found.get("ce_id")),
            _type(found.get("ce_type")),
            _number("ce_sequence", found.get("ce_sequence"), _SEQUENCE_MAX),
        )
    except _FlawError as flaw:
        reason = str(flaw)
    raise UnreadableRecordError(reason)


def _envelope(
    found: dict[str, bytes | None],
    event_id: UUID,
    event_type: str,
    sequence: int,
    partition_key: UUID,
) -> Headers:
    if found.get("ce_specversion") != b"1.0":
        raise _FlawError("ce_specversion is not 1.0")
    content_type = found.get("content-type", b"application/json")
    if content_type != b"application/json":
        raise _FlawError("content-type is not application/json")
    named_type, schema_version = _schema(found.get("ce_dataschema"))
    if named_type != event_type:
        raise _FlawError("ce_dataschema is not of ce_type")
    meta: dict[str, str] = {}
    for name, header in META_HEADERS.items():
        if header in found:
            meta[name] = _text(header, found[header], least=0, most=MAX_RECORD_BYTES)
    return Headers(
        event_id,
        event_type,
        sequence,
        _source(found.get("ce_source")),
        _uuid("ce_subject", found.get("ce_subject")),
        schema_version,
        _number("ce_streamversion", found.get("ce_streamversion"), _VERSION_MAX),
        _at("ce_time", found.get("ce_time")),
        _at("ce_recordedtime", found.get("ce_recordedtime")),
        partition_key,
        meta,
    )


@lru_cache(_SCHEMAS)
def _schema_headers(event_type: str, version: int) -> tuple[Header, Header]:
    return (
        ("ce_type", event_type.encode()),
        ("ce_dataschema", f"{SCHEMA_BASE}{event_type}/v{version}".encode()),
    )


@lru_cache(_SOURCES)
def _source_header(publisher: str) -> Header:
    return ("ce_source", f"/crm/{publisher}".encode())


_TWO_DIGITS: Final = tuple(f"{number:02}" for number in range(60))


def _instant(at: datetime) -> bytes:
    """Return an instant as RFC 3339 in UTC with microseconds (`isoformat` takes twice as long)."""
    if at.tzinfo is not UTC:
        if at.tzinfo is None:
            raise ValueError("an instant needs a zone")
        at = at.astimezone(UTC)
    two = _TWO_DIGITS
    date = f"{at.year:04}-{two[at.month]}-{two[at.day]}"
    time = f"{two[at.hour]}:{two[at.minute]}:{two[at.second]}.{at.microsecond:06}"
    return f"{date}T{time}Z".encode()


_is_uuid = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_is_number = re.compile(rb"[1-9][0-9]{0,18}").fullmatch
_is_instant = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)"
).fullmatch
_schema_parts = re.compile(rb"([^/]{1,255})/v([1-9][0-9]{0,9})").fullmatch
_set_int = cast("Callable[[UUID, int], None]", cast("Any", UUID.int).__set__)  # a slot
_set_is_safe = cast("Callable[[UUID, SafeUUID], None]", cast("Any", UUID.is_safe).__set__)
_SAFETY_UNKNOWN: Final = SafeUUID.unknown  # looking it up takes as long as the rest


def _uuid(name: str, raw: bytes | None) -> UUID:
    """Return a UUID in its one canonical form: in any other, a key has another partition.

    `UUID(text)` accepts many forms and takes twice as long.
    """
    if raw is None or _is_uuid(raw) is None:
        raise _FlawError(f"{name} is no UUID")
    uuid = UUID.__new__(UUID)
    _set_int(uuid, int(raw.replace(b"-", b""), 16))
    _set_is_safe(uuid, _SAFETY_UNKNOWN)
    return uuid


def _number(name: str, raw: bytes | None, most: int) -> int:
    if raw is not None and _is_number(raw) and (number := int(raw)) <= most:
        return number
    raise _FlawError(f"{name} is no number from 1 to {most}")


def _at(name: str, raw: bytes | None) -> datetime:
    if raw is not None and _is_instant(raw):
        try:
            at = datetime.fromisoformat(raw.decode())
            return at if at.tzinfo is UTC else at.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _FlawError(f"{name} is no RFC 3339 instant")


def _text(name: str, raw: bytes | None, *, least: int = 1, most: int = _TEXT_BYTES) -> str:
    if raw is not None and least <= len(raw) <= most and b"\0" not in raw:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            pass
    raise _FlawError(f"{name} is no text of {least} to {most} bytes")


@lru_cache(_SCHEMAS)
def _type(raw: bytes | None) -> str:
    return _text("ce_type", raw, most=_TYPE_BYTES)


@lru_cache(_SOURCES)
def _source(raw: bytes | None) -> str:
    source = _text("ce_source", raw)
    if not source.startswith("/crm/"):
        raise _FlawError("ce_source is no service")
    return source


@lru_cache(_SCHEMAS)
def _schema(raw: bytes | None) -> tuple[str, int]:
    """Return type and version that a schema's URI names."""
    uri = _text("ce_dataschema", raw)
    base = SCHEMA_BASE.encode()
    parts = _schema_parts(uri.encode().removeprefix(base)) if uri.startswith(SCHEMA_BASE) else None
    if parts is None or int(parts[2]) > _VERSION_MAX:
        raise _FlawError("ce_dataschema is no schema's URI with a version")
    return parts[1].decode(), int(parts[2])
