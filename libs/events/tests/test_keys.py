"""Subject keys are carried wrapped, and destroyed for ever."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from crm_events.contacts import SubjectKeyRecord
from crm_events.errors import BadKeyRecordError, UnwrapError
from crm_events.keys import Kek, new_key, read_key_record, to_key_record, unwrap, wrap
from pydantic import ValidationError

SUBJECT = "01998a3c-7d00-7000-8000-000000000002"
OTHER = "01998a3c-7d00-7000-8000-000000000003"
OLD, NEW = Kek("old", bytes(range(32))), Kek("new", bytes(range(1, 33)))
AT = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_key_is_unwrapped_by_whichever_of_the_live_keys_wrapped_it():
    key = new_key()

    for kek in (OLD, NEW):
        wrapped = wrap(key, key_id=SUBJECT, kek=kek)
        assert unwrap(wrapped, key_id=SUBJECT, keks={"old": OLD, "new": NEW}) == key


def test_a_wrapped_key_is_bound_to_its_subject_and_to_its_key_encryption_key():
    wrapped = wrap(new_key(), key_id=SUBJECT, kek=OLD)

    for key_id, kek in ((OTHER, OLD), (SUBJECT, NEW), (SUBJECT, Kek("renamed", OLD.material))):
        with pytest.raises(UnwrapError):
            unwrap(wrapped, key_id=key_id, keks={kek.kek_id: kek})
    with pytest.raises(UnwrapError):
        unwrap("no blob", key_id=SUBJECT, keks={"old": OLD})


def test_keys_are_random_and_a_key_encryption_key_has_32_bytes_and_is_not_shown():
    assert len(new_key()) == 32
    assert new_key() != new_key()
    assert "material" not in repr(OLD)
    with pytest.raises(ValueError, match="short"):
        Kek("short", b"x" * 31)


@pytest.mark.parametrize(
    "record",
    [
        SubjectKeyRecord(key_id=SUBJECT, kek_id="old", wrapped="a.b"),
        SubjectKeyRecord(key_id=SUBJECT, destroyed=AT),
    ],
)
def test_a_key_record_reads_back(record):
    key, value = to_key_record(record)

    assert read_key_record(key, value) == record
    assert b"null" not in value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (SUBJECT.encode(), None),
        (SUBJECT.encode(), b"null"),
        (SUBJECT.encode(), b"{}"),
        (SUBJECT.encode(), b'{"key_id":"%s"}' % SUBJECT.encode()),
        (SUBJECT.encode(), b'{"key_id":"%s","wrapped":"a.b"}' % SUBJECT.encode()),
        (OTHER.encode(), to_key_record(SubjectKeyRecord(key_id=SUBJECT, destroyed=AT))[1]),
        (None, to_key_record(SubjectKeyRecord(key_id=SUBJECT, destroyed=AT))[1]),
        (b"\xff", to_key_record(SubjectKeyRecord(key_id=SUBJECT, destroyed=AT))[1]),
        (b"me", b'{"key_id":"me","destroyed":"2026-03-01T00:00:00Z"}'),
    ],
)
def test_a_record_that_says_nothing_about_a_key_is_refused(key, value):
    with pytest.raises(BadKeyRecordError):
        read_key_record(key, value)


def test_a_destroyed_key_keeps_nothing_of_the_wrapped_one():
    with pytest.raises(ValidationError):
        SubjectKeyRecord(key_id=SUBJECT, kek_id="old", wrapped="a.b", destroyed=AT)
