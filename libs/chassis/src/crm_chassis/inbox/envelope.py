"""A record's envelope as the text it travels as, checked: the log is given text, not objects."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from crm_events.codec import META_HEADERS, read_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crm_events.codec import Headers

_KINDS: Final = 4096
_META_BYTES: Final = 1024
_VERSION_DIGITS: Final = 9  # below 2^31
_SEQUENCE_DIGITS: Final = 18  # below 2^63

# As the relay writes them. In any other order, or form, the codec alone decides.
_CONSTANT: Final = ("ce_specversion", "content-type", "ce_type", "ce_dataschema", "ce_source")
_PLACE: Final = (
    "ce_id", "ce_time", "ce_recordedtime", "ce_subject", "ce_streamversion", "ce_sequence",
)  # fmt: skip
_META: Final = {header: name for name, header in META_HEADERS.items()}
_FIRST: Final = len(_CONSTANT)
_WIDTH: Final = _FIRST + len(_PLACE)

# Forms are compared with every digit made 0: a third of the time of a regular expression.
_HEX: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_UUIDS: Final = b"00000000-0000-0000-0000-000000000000" * 3
_INSTANTS: Final = b"0000-00-00T00:00:00.000000Z" * 2


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
    two against each other. Only a date that no calendar has passes here: PostgreSQL refuses it.
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
    (n1, v1), (n2, v2), (n3, v3), (n4, v4), (n5, v5), (n6, v6) = headers[_FIRST:_WIDTH]
    if (n1, n2, n3, n4, n5, n6) != _PLACE:
        return None
    kind = _kind(tuple(headers[:_FIRST]))
    if (
        kind is None
        or key is None
        or v1 is None
        or v2 is None
        or v3 is None
        or v4 is None
        or v5 is None
        or v6 is None
        or not len(key) == len(v1) == len(v4)
        or (key + v1 + v4).translate(_HEX) != _UUIDS
        or len(v2) != len(v3)
        or (v2 + v3).translate(_DIGITS) != _INSTANTS
        or not (_is_time(v2) and _is_time(v3))
        or not (_is_number(v5, _VERSION_DIGITS) and _is_number(v6, _SEQUENCE_DIGITS))
    ):
        return None
    meta: str | None = None
    if len(headers) > _WIDTH:
        meta = _meta(headers[_WIDTH:])
        if meta is None:
            return None
    return Envelope(
        int(v6), v1.decode(), v4.decode(), v5.decode(), kind[0], kind[1], key.decode(),
        v2.decode(), v3.decode(), meta,
    )  # fmt: skip


def _is_time(instant: bytes) -> bool:
    """PostgreSQL takes 24:00:00 and a second 60; the codec does not. Its years begin with 1."""
    return instant[11:13] < b"24" and instant[17:19] < b"60" and instant[:4] > b"0000"


def _is_number(digits: bytes, most: int) -> bool:
    return len(digits) <= most and digits.isdigit() and digits[0] != ord("0")


@lru_cache(_KINDS)
def _kind(headers: tuple[tuple[str, bytes | None], ...]) -> tuple[str, str] | None:
    """Type and version that the first five headers name, as the codec reads them."""
    if tuple(name for name, _ in headers) != _CONSTANT:
        return None
    try:
        read = read_headers(_EXAMPLE_ID, (*headers, *_EXAMPLE_PLACE))
    except Exception:  # noqa: BLE001  # the codec will say it of the whole record
        return None
    return read.type, str(read.schema_version)


def _meta(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    meta: dict[str, str] = {}
    for name, value in headers:
        known = _META.get(name)
        if known is None or not value or len(value) > _META_BYTES or b"\0" in value:
            return None
        try:
            meta[known] = value.decode()
        except UnicodeDecodeError:
            return None
    return orjson.dumps(meta).decode() if len(meta) == len(headers) else None


def _json(meta: Mapping[str, str]) -> str | None:
    return orjson.dumps(dict(meta)).decode() if meta else None


_EXAMPLE_ID: Final = b"00000000-0000-7000-8000-000000000001"
_EXAMPLE_PLACE: Final = (
    ("ce_id", _EXAMPLE_ID),
    ("ce_time", b"2026-01-01T00:00:00Z"),
    ("ce_recordedtime", b"2026-01-01T00:00:00Z"),
    ("ce_subject", _EXAMPLE_ID),
    ("ce_streamversion", b"1"),
    ("ce_sequence", b"1"),
)
