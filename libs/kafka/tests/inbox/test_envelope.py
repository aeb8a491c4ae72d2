"""The quick reading of an envelope says what the codec says, or leaves it to the codec."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from crm_events.codec import read_headers, to_record
from crm_events.envelope import Recorded
from crm_events.errors import BadEnvelopeError, UnreadableRecordError
from crm_kafka.inbox.envelope import as_text, envelope, quick_envelopes
from hypothesis import given
from hypothesis import strategies as st

Headers = list[tuple[str, bytes | None]]

instants = st.datetimes(
    min_value=datetime(1000, 1, 2),  # noqa: DTZ001  # hypothesis adds the zone
    max_value=datetime(2999, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
)
metas = st.dictionaries(
    st.sampled_from(["correlationid", "causationid", "traceparent"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40),
)
recorded = st.builds(
    Recorded,
    event_id=st.uuids(),
    type=st.sampled_from(["probe.thing.counted", "sales.deal.won", "größe"]),
    schema_version=st.integers(1, 2**31 - 1),
    stream_id=st.uuids(),
    stream_version=st.integers(1, 2**31 - 1),
    partition_key=st.uuids(),
    occurred_at=instants,
    recorded_at=instants,
    data=st.just("{}"),
    sequence=st.integers(1, 2**63 - 1),
    meta=metas,
)
ordinary = st.builds(
    replace,
    recorded,
    schema_version=st.integers(1, 10**9 - 1),
    stream_version=st.integers(1, 10**9 - 1),
    sequence=st.integers(1, 10**18 - 1),
)
EXAMPLE = Recorded(
    event_id=UUID(int=1),
    type="probe.thing.counted",
    schema_version=1,
    stream_id=UUID(int=2),
    stream_version=1,
    partition_key=UUID(int=3),
    occurred_at=datetime(2026, 5, 4, 12, tzinfo=UTC),
    recorded_at=datetime(2026, 5, 4, 12, tzinfo=UTC) + timedelta(microseconds=7),
    data="{}",
    sequence=4,
    meta={"correlationid": "c"},
)


def outcome(read: object, key: bytes | None, headers: Headers) -> object:
    try:
        return read(key, headers)
    except (BadEnvelopeError, UnreadableRecordError) as flaw:
        return type(flaw), str(flaw)


@given(recorded)
def test_what_the_relay_writes_is_read_as_the_codec_reads_it(event: Recorded) -> None:
    key, _, headers = to_record(event, publisher="probe")

    read, exact = envelope(key, headers), as_text(read_headers(key, headers))

    assert read._replace(occurred_at="", recorded_at="", meta="") == exact._replace(
        occurred_at="", recorded_at="", meta=""
    )
    assert datetime.fromisoformat(read.occurred_at) == event.occurred_at
    assert datetime.fromisoformat(read.recorded_at) == event.recorded_at
    assert read.meta == exact.meta


def test_an_ordinary_record_is_read_the_quick_way() -> None:
    key, _, headers = to_record(EXAMPLE, publisher="probe")

    assert quick_envelopes([key], [headers]) is not None


@given(st.lists(ordinary, min_size=1, max_size=8))
def test_records_read_together_are_what_each_is_alone(events: list[Recorded]) -> None:
    each = [to_record(event, publisher="probe") for event in events]

    together = quick_envelopes([key for key, _, _ in each], [headers for *_, headers in each])

    assert together == [envelope(key, headers) for key, _, headers in each]


@pytest.mark.parametrize("change", ["no value", "no name we know", "a byte less", "away"])
@pytest.mark.parametrize("at", range(12))
def test_one_among_others_that_is_otherwise_is_seen(at: int, change: str) -> None:
    key, _, written = to_record(EXAMPLE, publisher="probe")
    name, value = written[at]
    instead: dict[str, Headers] = {
        "no value": [(name, None)],
        "no name we know": [("ce_else", value)],
        "a byte less": [(name, value[1:])],
        "away": [],
    }
    otherwise = [*written[:at], *instead[change], *written[at + 1 :]]

    alone = quick_envelopes([key], [otherwise])
    together = quick_envelopes([key] * 3, [written, otherwise, written])

    usual = envelope(key, written)
    assert together == (None if alone is None else [usual, *alone, usual])


@pytest.mark.parametrize("names", [("ce_id", "ce_subject"), ("ce_time", "ce_recordedtime")])
def test_a_byte_that_one_value_has_too_much_and_the_next_lacks_is_seen(names) -> None:
    key, _, written = to_record(EXAMPLE, publisher="probe")
    values = dict(written)
    longer, shorter = values[names[0]] + values[names[1]][:1], values[names[1]][1:]
    moved = dict(zip(names, (longer, shorter), strict=True))

    with pytest.raises((BadEnvelopeError, UnreadableRecordError)):
        envelope(key, [(name, moved.get(name, value)) for name, value in written])


@given(
    position=st.integers(0, 13),
    change=st.sampled_from(["drop", "double", "empty", "none", "cut", "upper", "swap"]),
    content=st.binary(max_size=40),
)
def test_a_record_that_is_otherwise_is_judged_as_the_codec_judges_it(
    position: int, change: str, content: bytes
) -> None:
    key, _, written = to_record(EXAMPLE, publisher="probe")
    headers: Headers = list(written)
    at = position % len(headers)
    name, value = headers[at]
    match change:
        case "drop":
            del headers[at]
        case "double":
            headers.append((name, value))
        case "empty":
            headers[at] = (name, b"")
        case "none":
            headers[at] = (name, None)
        case "cut":
            headers[at] = (name, (value or b"")[:-1])
        case "upper":
            headers[at] = (name, (value or b"").upper())
        case _:
            headers[at] = (name, content)

    read = outcome(envelope, key, headers)

    expected = outcome(lambda k, h: as_text(read_headers(k, h)), key, headers)
    assert _comparable(read) == _comparable(expected)


@pytest.mark.parametrize("key", [None, b"", b"customer 1", b"0" * 36, b"\xff" * 36])
def test_a_key_that_is_no_uuid_is_a_bad_envelope(key: bytes | None) -> None:
    _, _, headers = to_record(EXAMPLE, publisher="probe")

    with pytest.raises(BadEnvelopeError):
        envelope(key, headers)


def _comparable(read: object) -> object:
    if isinstance(read, tuple) and hasattr(read, "_replace"):
        return read._replace(
            occurred_at=datetime.fromisoformat(read.occurred_at),
            recorded_at=datetime.fromisoformat(read.recorded_at),
        )
    return read
