"""A record's envelope as the text it travels as, checked: the log is given text, not objects."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from crm_events.codec import META_HEADERS, read_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crm_events.codec import Headers as Read

    Headers = Sequence[tuple[str, bytes | None]]

_KINDS: Final = 4096
_META_BYTES: Final = 1024
_VERSION_DIGITS: Final = 9  # below 2^31
_SEQUENCE_DIGITS: Final = 18  # below 2^63

# As the relay writes them. In any other order, or form, the codec alone decides.
_CONSTANT: Final = ("ce_specversion", "content-type", "ce_type", "ce_dataschema", "ce_source")
_PLACE: Final = (
    "ce_id", "ce_time", "ce_recordedtime", "ce_subject", "ce_streamversion", "ce_sequence",
)  # fmt: skip
_UNREADABLE: Final = ""  # no JSON
_META: Final = {header: name for name, header in META_HEADERS.items()}
_FIRST: Final = len(_CONSTANT)
_WIDTH: Final = _FIRST + len(_PLACE)

# Forms are compared with every digit made 0: a third of the time of a regular expression.
_HEX: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_UUID: Final = b"00000000-0000-0000-0000-000000000000"
_INSTANT: Final = b"0000-00-00T00:00:00.000000Z"
_STEP: Final = len(_INSTANT) + 1  # from one to the next, with the comma between


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


def envelope(key: bytes | None, headers: Headers) -> Envelope:
    """The envelope of a record. Raises what `crm_events.codec.read_headers` raises."""
    quick = quick_envelopes([key], [headers])
    return quick[0] if quick else as_text(read_headers(key, headers))


def quick_envelopes(
    keys: Sequence[bytes | None], headers: Sequence[Headers]
) -> list[Envelope] | None:
    """The envelopes of some records, at least one; None where one is not as the relay writes it.

    They are checked column by column, at a quarter of the codec's cost; a test holds the two
    against each other. Only a date that no calendar has passes here: PostgreSQL refuses it.
    """
    kinds, partition_keys = _kinds(headers), _uuids(keys)
    if kinds is None or partition_keys is None:
        return None
    columns = _columns(headers)
    if columns is None:
        return None
    ids, times, recorded_times, subjects, versions, sequences = columns
    event_ids, streams = _uuids(ids), _uuids(subjects)
    occurred, recorded = _instants(times), _instants(recorded_times)
    metas = [_meta(each[_WIDTH:]) if len(each) > _WIDTH else None for each in headers]
    if (
        event_ids is None
        or streams is None
        or occurred is None
        or recorded is None
        or not all(_is_number(each, _VERSION_DIGITS) for each in set(versions))
        or not all(_is_number(each, _SEQUENCE_DIGITS) for each in sequences)
        or _UNREADABLE in metas
    ):
        return None
    types, schemas = zip(*kinds, strict=True)
    return list(
        map(
            Envelope._make,
            zip(
                map(int, sequences), event_ids, streams, map(bytes.decode, versions), types,
                schemas, partition_keys, occurred, recorded, metas, strict=True,
            ),
        )
    )  # fmt: skip


def as_text(read: Read) -> Envelope:
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


def _kinds(headers: Sequence[Headers]) -> list[tuple[str, str]] | None:
    """Type and version that the first five headers of each name."""
    kinds: list[tuple[str, str]] = []
    before: Headers = ()
    kind: tuple[str, str] | None = None
    for each in headers:
        named = each[:_FIRST]
        if named != before:  # most are as the one before
            kind, before = _kind(tuple(named)), named
        if kind is None or len(each) < _WIDTH:
            return None
        kinds.append(kind)
    return kinds


def _columns(headers: Sequence[Headers]) -> list[tuple[bytes, ...]] | None:
    """The values of the six headers that differ, each a column."""
    columns: list[tuple[bytes, ...]] = []
    for name, column in zip(
        _PLACE, zip(*[each[_FIRST:_WIDTH] for each in headers], strict=True), strict=True
    ):
        names, values = zip(*column, strict=True)
        if names.count(name) != len(names) or None in values:
            return None
        columns.append(values)
    return columns


def _uuids(column: Sequence[bytes | None]) -> list[str] | None:
    present = [each for each in column if each is not None]
    joined = b",".join(present)
    if joined.translate(_HEX) != b",".join([_UUID] * len(column)):
        return None
    return joined.decode().split(",")


def _instants(column: Sequence[bytes]) -> list[str] | None:
    """PostgreSQL takes 24:00:00 and a second 60; the codec does not. Its years begin with 1."""
    joined = b",".join(column)
    if joined.translate(_DIGITS) != b",".join([_INSTANT] * len(column)):
        return None
    latest_hour = max(zip(joined[11::_STEP], joined[12::_STEP], strict=True))
    if (
        latest_hour >= tuple(b"24")
        or max(joined[17::_STEP]) >= ord("6")
        or min(column)[:4] == b"0000"
    ):
        return None
    return joined.decode().split(",")


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


def _meta(headers: Headers) -> str:
    meta: dict[str, str] = {}
    for name, value in headers:
        known = _META.get(name)
        if known is None or not value or len(value) > _META_BYTES or b"\0" in value:
            return _UNREADABLE
        try:
            meta[known] = value.decode()
        except UnicodeDecodeError:
            return _UNREADABLE
    return orjson.dumps(meta).decode() if len(meta) == len(headers) else _UNREADABLE


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
