"""Events on Kafka: what is written reads back, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from crm_events.codec import MAX_RECORD_BYTES, read_headers, record_size, to_record
from crm_events.envelope import Recorded
from crm_events.errors import BadEnvelopeError, UnreadableRecordError
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 3, 1, 12, 0, 0, 42, tzinfo=UTC)
EVENT_ID = UUID("01998a3c-7d00-7000-8000-000000000001")
STREAM = UUID("01998a3c-7d00-7000-8000-000000000002")
CUSTOMER = UUID("01998a3c-7d00-7000-8000-000000000003")
RECORDED = Recorded(
    event_id=EVENT_ID,
    type="sales.deal.won",
    schema_version=2,
    stream_id=STREAM,
    stream_version=7,
    partition_key=CUSTOMER,
    occurred_at=AT,
    recorded_at=AT + timedelta(seconds=1),
    data='{"a":"é"}',
    topic="sales.deals",
    partition=3,
    sequence=12345,
    meta={"correlationid": "c-1", "causationid": "c-2", "traceparent": "00-a-b-01"},
)
KEY, VALUE, HEADERS = to_record(RECORDED, publisher="sales")
REQUIRED = {
    "ce_specversion", "ce_source", "ce_time", "ce_recordedtime", "ce_subject", "ce_dataschema",
    "ce_streamversion",
}  # fmt: skip


def without(name):
    return [header for header in HEADERS if header[0] != name]


def having(name, content):
    return [*without(name), (name, content)]


def test_a_record_is_a_cloudevent_in_binary_mode():
    assert KEY == b"01998a3c-7d00-7000-8000-000000000003"
    assert '{"a":"é"}'.encode() == VALUE
    assert dict(HEADERS) == {
        "ce_specversion": b"1.0",
        "ce_id": b"01998a3c-7d00-7000-8000-000000000001",
        "ce_source": b"/crm/sales",
        "ce_type": b"sales.deal.won",
        "ce_time": b"2026-03-01T12:00:00.000042Z",
        "ce_recordedtime": b"2026-03-01T12:00:01.000042Z",
        "ce_subject": b"01998a3c-7d00-7000-8000-000000000002",
        "ce_dataschema": b"https://kith.invalid/schemas/sales.deal.won/v2",
        "ce_streamversion": b"7",
        "ce_sequence": b"12345",
        "ce_correlationid": b"c-1",
        "ce_causationid": b"c-2",
        "traceparent": b"00-a-b-01",
        "content-type": b"application/json",
    }


@given(
    ids=st.lists(st.uuids(), min_size=3, max_size=3),
    occurred_at=st.datetimes(timezones=st.just(UTC)),
    sequence=st.integers(1, 2**63 - 1),
    version=st.integers(1, 2**31 - 1),
    schema_version=st.integers(1, 2**31 - 1),
    event_type=st.from_regex(r"[a-z.-]{1,60}", fullmatch=True),
    trace=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
)
def test_an_envelope_reads_back_as_it_was(
    *, ids, occurred_at, sequence, version, schema_version, event_type, trace
):
    recorded = replace(
        RECORDED,
        event_id=ids[0],
        stream_id=ids[1],
        partition_key=ids[2],
        occurred_at=occurred_at,
        recorded_at=occurred_at,
        sequence=sequence,
        stream_version=version,
        schema_version=schema_version,
        type=event_type,
        meta={} if trace is None else {"traceparent": trace},
    )

    key, _, headers = to_record(recorded, publisher="sales")
    envelope = read_headers(key, headers)

    assert envelope.event_id == ids[0]
    assert envelope.subject == ids[1]
    assert envelope.partition_key == ids[2]
    assert envelope.occurred_at == envelope.recorded_at == occurred_at
    assert envelope.sequence == sequence
    assert envelope.stream_version == version
    assert envelope.schema_version == schema_version
    assert envelope.type == event_type
    assert envelope.source == "/crm/sales"
    assert envelope.meta == recorded.meta
    assert hash(envelope.event_id) == hash(UUID(str(ids[0])))


def test_an_instant_of_another_zone_is_written_in_utc():
    berlin = AT.astimezone(timezone(timedelta(hours=2)))

    _, _, headers = to_record(replace(RECORDED, occurred_at=berlin), publisher="sales")

    assert dict(headers)["ce_time"] == b"2026-03-01T12:00:00.000042Z"


def test_an_event_without_a_number_or_a_zone_is_not_written():
    for wrong in ({"sequence": None}, {"occurred_at": AT.replace(tzinfo=None)}):
        with pytest.raises(ValueError, match=r"sequence|zone"):
            to_record(replace(RECORDED, **wrong), publisher="sales")


UNREADABLE = [
    (name, content)
    for name, contents in {
        "ce_id": [None, b"", b"7", b"\xff", b"01998A3C-7D00-7000-8000-000000000001",
                  b"{01998a3c-7d00-7000-8000-000000000001}", b"01998a3c7d0070008000000000000001",
                  b"01998a3c-7d00-7000-8000-000000000001\n"],
        "ce_type": [None, b"", b"\xff", b"a\0b", b"x" * 256],
        "ce_sequence": [None, b"", b"0", b"-1", b"+1", b"01", b"1.0", b"1e3", b" 1", b"1\n",
                        b"9223372036854775808", b"9" * 5000, b"\xd9\xa1", b"\xff"],
    }.items()
    for content in contents
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), UNREADABLE)
def test_a_record_without_a_readable_place_is_unreadable(name, content):
    with pytest.raises(UnreadableRecordError, match=name):
        read_headers(KEY, having(name, content))


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_sequence"])
def test_a_place_that_is_missing_or_there_twice_is_unreadable(name):
    for headers in (without(name), [*HEADERS, (name, dict(HEADERS)[name])]):
        with pytest.raises(UnreadableRecordError, match=name):
            read_headers(KEY, headers)
    with pytest.raises(UnreadableRecordError):
        read_headers(None, [])


BAD = [
    (name, content)
    for name, contents in {
        "ce_specversion": [None, b"", b"0.3", b"1.00"],
        "ce_source": [None, b"", b"\xff", b"/other/sales"],
        "ce_time": [None, b"", b"\xff", b"2026-03-01", b"2026-03-01T12:00:00",
                    b"2026-02-30T12:00:00Z", b"2026-W09-1T12:00:00Z", b"1772366400",
                    b"0001-01-01T00:00:00+10:00", b"2026-03-01T12:00:00.0000001Z"],
        "ce_recordedtime": [None, b"yesterday"],
        "ce_subject": [None, b"", b"deal-7"],
        "ce_dataschema": [None, b"", b"\xff", b"https://kith.invalid/schemas/sales.deal.won",
                          b"https://kith.invalid/schemas/sales.deal.lost/v2",
                          b"https://kith.invalid/schemas/sales.deal.won/v0",
                          b"https://kith.invalid/schemas/sales.deal.won/v99999999999",
                          b"https://other.invalid/schemas/sales.deal.won/v2", b"/v2"],
        "ce_streamversion": [None, b"0", b"x", b"2147483648"],
        "ce_correlationid": [None, b"\xff", b"a\0b"],
        "traceparent": [None, b"\xff"],
        "content-type": [None, b"application/avro"],
    }.items()
    for content in contents
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), BAD)
def test_a_bad_header_is_named_with_the_place_of_its_record(name, content):
    with pytest.raises(BadEnvelopeError) as bad:
        read_headers(KEY, having(name, content))

    assert (bad.value.event_id, bad.value.type, bad.value.sequence) == (
        EVENT_ID, "sales.deal.won", 12345,
    )  # fmt: skip
    assert bad.value.reason.startswith(name)
    assert bad.value.partition_key == CUSTOMER


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_required_header_that_is_missing_or_there_twice_is_bad(name):
    for headers in (without(name), [*HEADERS, (name, dict(HEADERS)[name])]):
        with pytest.raises(BadEnvelopeError, match=name):
            read_headers(KEY, headers)


@pytest.mark.parametrize("key", [None, b"", b"7", b"\xff", b"01998A3C-7D00-7000-8000-000000000003"])
def test_a_key_that_is_no_uuid_is_bad(key):
    with pytest.raises(BadEnvelopeError) as bad:
        read_headers(key, HEADERS)

    assert bad.value.partition_key is None


def test_headers_of_others_are_ignored_and_may_be_there_twice():
    others = [("x-proxy", b"\xff"), ("x-proxy", None), ("ce_unknown", b"1")]

    assert read_headers(KEY, [*HEADERS, *others]) == read_headers(KEY, HEADERS)


def test_without_meta_and_content_type_an_envelope_is_whole():
    bare = [h for h in HEADERS if h[0] in REQUIRED | {"ce_id", "ce_type", "ce_sequence"}]

    assert read_headers(KEY, bare).meta == {}


@given(
    key=st.binary(max_size=40),
    value=st.binary(max_size=4000),
    headers=st.lists(st.tuples(st.text("abc_", max_size=20), st.binary(max_size=300)), max_size=20),
)
def test_a_record_is_never_larger_than_its_size_says(key, value, headers):
    def varint(number: int) -> int:
        return max(1, -(-(2 * number).bit_length() // 7))

    body = 1 + 10 + 5 + varint(len(key)) + len(key) + varint(len(value)) + len(value)
    body += varint(len(headers))
    for name, content in headers:
        body += varint(len(name)) + len(name) + varint(len(content)) + len(content)

    assert record_size(key, value, headers) >= 61 + varint(body) + body


def test_the_largest_event_taken_fits_when_it_is_sealed():
    text = "x" * (256 * 1024)
    sealed = len(text) * 4 // 3

    assert record_size(KEY, b"x" * sealed, HEADERS) < MAX_RECORD_BYTES
    assert record_size(None, None, []) < 128
