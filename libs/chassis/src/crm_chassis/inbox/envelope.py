"""A record's envelope as the text it travels as, checked: the log is given text, not objects."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from crm_events.codec import read_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crm_events.codec import Headers

_UUID: Final = rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_INSTANT: Final = (
    rb"[12]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    rb"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z"
)
_KINDS: Final = 4096
_TEXT_BYTES: Final = 1024

# As the relay writes them. In any other order, or form, the codec alone decides.
_CONSTANT: Final = ("ce_specversion", "content-type", "ce_type", "ce_dataschema", "ce_source")
_PLACE: Final = (
    "ce_id", "ce_time", "ce_recordedtime", "ce_subject", "ce_streamversion", "ce_sequence",
)  # fmt: skip
_META: Final = {
    "ce_correlationid": "correlationid",
    "ce_causationid": "causationid",
    "traceparent": "traceparent",
}
_WIDTH: Final = len(_CONSTANT) + len(_PLACE)

_is_place = re.compile(
    b"\n".join((_UUID, _UUID, _INSTANT, _INSTANT, _UUID, rb"[1-9]\d{0,8}", rb"[1-9]\d{0,17}"))
).fullmatch


class Envelope(NamedTuple):
    """What the log keeps of a record besides its data."""

    sequence: int
    event_id: str
    stream_id: str
    version: str
    type: str
    schema_version: str
    partition_key: str
    occurred_at: str
    recorded_at: str
    meta: str | None  # JSON


def envelope(key: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Envelope:
    """The envelope of a record. Raises what `crm_events.codec.read_headers` raises.

    Records as the relay writes them are checked at a third of the codec's cost; a test holds the
    two against each other.
    """
    return _quick(key, headers) or as_text(read_headers(key, headers))


def as_text(read: Headers) -> Envelope:
    """What the codec read, as the log is given it."""
    return Envelope(
        read.sequence,
        str(read.event_id),
        str(read.subject),
        str(read.stream_version),
        read.type,
        str(read.schema_version),
        str(read.partition_key),
        read.occurred_at.isoformat(),
        read.recorded_at.isoformat(),
        _json(read.meta),
    )


def _quick(key: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Envelope | None:
    """The envelope, or None where it is not exactly as the relay writes it."""
    if len(headers) < _WIDTH:
        return None
    (n1, v1), (n2, v2), (n3, v3), (n4, v4), (n5, v5), (n6, v6) = headers[5:_WIDTH]
    if (n1, n2, n3, n4, n5, n6) != _PLACE:
        return None
    try:
        place = b"\n".join((key, v1, v2, v3, v4, v5, v6))  # pyright: ignore[reportArgumentType]
        kind = _kind(tuple(headers[:5]))
    except TypeError:  # no key, or a header without a value
        return None
    if kind is None or _is_place(place) is None:
        return None
    meta: str | None = None
    if len(headers) > _WIDTH:
        meta = _meta(headers[_WIDTH:])
        if meta is None:
            return None
    partition_key, event_id, occurred_at, recorded_at, stream_id, version, sequence = (
        place.decode().split("\n")
    )
    return Envelope(
        int(sequence), event_id, stream_id, version, kind[0], kind[1], partition_key,
        occurred_at, recorded_at, meta,
    )  # fmt: skip


@lru_cache(_KINDS)
def _kind(headers: tuple[tuple[str, bytes | None], ...]) -> tuple[str, str] | None:
    """Type and version that the first five headers name, as the codec reads them."""
    if tuple(name for name, _ in headers) != _CONSTANT:
        return None
    try:
        read = read_headers(_EXAMPLE_KEY, (*headers, *_EXAMPLE_PLACE))
    except Exception:  # noqa: BLE001  # the codec will say it of the whole record
        return None
    return read.type, str(read.schema_version)


def _meta(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    meta: dict[str, str] = {}
    for name, value in headers:
        known = _META.get(name)
        if known is None or not value or len(value) > _TEXT_BYTES or b"\0" in value:
            return None
        try:
            meta[known] = value.decode()
        except UnicodeDecodeError:
            return None
    return orjson.dumps(meta).decode() if len(meta) == len(headers) else None


def _json(meta: Mapping[str, str]) -> str | None:
    return orjson.dumps(dict(meta)).decode() if meta else None


_EXAMPLE_ID: Final = b"00000000-0000-7000-8000-000000000001"
_EXAMPLE_KEY: Final = _EXAMPLE_ID
_EXAMPLE_PLACE: Final = (
    ("ce_id", _EXAMPLE_ID),
    ("ce_time", b"2026-01-01T00:00:00Z"),
    ("ce_recordedtime", b"2026-01-01T00:00:00Z"),
    ("ce_subject", _EXAMPLE_ID),
    ("ce_streamversion", b"1"),
    ("ce_sequence", b"1"),
)
