"""Old versions read as the present one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from crm_events.base import Event
from crm_events.envelope import Recorded
from crm_events.errors import UnknownVersionError
from crm_events.keys import Destroyed, new_key
from crm_events.personal import ERASED, SEALED, Personal
from crm_events.sealing import read, seal
from crm_events.topics import Contract, Topic

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CUSTOMER = UUID("01998a3c-7d00-7000-8000-000000000002")
KEYS = {str(CUSTOMER): new_key()}


class Told1(Event, type="test.told", version=1):
    where: str
    text: Personal[str] = SEALED


class Told3(Event, type="test.told", version=3):
    """Has `place` for `where`, and `words` for `text`."""

    place: str
    words: Personal[tuple[str, ...]] = SEALED


def renamed(data: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in data.items() if k != "where"}, "place": data["where"]}


def split(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "words": data["text"].split()} if "text" in data else data


NOW = Contract(
    (Topic("test.told", "test", (Told3,)),),
    upcasters={("test.told", 1): renamed, ("test.told", 2): split},
)
OLD = Recorded(
    event_id=CUSTOMER,
    type="test.told",
    schema_version=1,
    stream_id=CUSTOMER,
    stream_version=1,
    partition_key=CUSTOMER,
    occurred_at=AT,
    recorded_at=AT,
    data=seal(
        Told1(where="shop", text="hello you"), event_id=CUSTOMER, subject=CUSTOMER, keys=KEYS
    ),
)


def test_an_old_version_is_opened_and_then_made_into_the_present_one():
    assert read(OLD, NOW, KEYS) == Told3(place="shop", words=("hello", "you"))


def test_an_old_version_that_nobody_opened_reads_sealed():
    assert read(OLD, NOW) == Told3(place="shop")


def test_an_old_version_of_an_erased_subject_reads_erased():
    assert read(OLD, NOW, {str(CUSTOMER): Destroyed(AT)}) == Told3(place="shop", words=ERASED)


def test_a_version_too_new_or_without_an_upcaster_is_unknown():
    gap = Contract(NOW.topics, upcasters={("test.told", 1): renamed})

    for record, contract in ((replace(OLD, schema_version=4), NOW), (OLD, gap)):
        with pytest.raises(UnknownVersionError) as unknown:
            read(record, contract, KEYS)
        assert unknown.value.version == record.schema_version
