"""An event becomes version 2 in either order: readers first, or the publisher told to wait."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from crm_events.base import Event
from crm_events.codec import read_headers, to_record
from crm_events.downcasters import Downcaster
from crm_events.envelope import Recorded
from crm_events.errors import UnknownVersionError
from crm_events.keys import Destroyed, new_key
from crm_events.personal import ERASED, SEALED, Personal
from crm_events.sealing import read, seal
from crm_events.topics import Contract, Topic

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CUSTOMER = UUID("01998a3c-7d00-7000-8000-000000000002")
KEYS = {str(CUSTOMER): new_key()}


class Won1(Event, type="test.deal.won", version=1):
    euros: int
    note: Personal[str] = SEALED


class Won2(Event, type="test.deal.won", version=2):
    """Counts in cents, and has the lines of the note apart; a rank is new."""

    cents: int
    notes: Personal[tuple[str, ...]] = SEALED
    rank: int = 0


class Won3(Event, type="test.deal.won", version=3):
    """Names its currency. Nobody's deal: its notes are gone."""

    amount: str
    rank: int = 0


class Lost(Event, type="test.deal.lost", version=1):
    why: str


def in_cents(data: dict[str, Any]) -> dict[str, Any]:
    apart = {"notes": data["note"].splitlines()} if "note" in data else {}
    return {"cents": data["euros"] * 100, **apart}


def in_euros(won: Won2) -> Won1:
    hidden = won.notes is SEALED or won.notes is ERASED
    return Won1(euros=won.cents // 100, note=won.notes if hidden else "\n".join(won.notes))


TO_1 = Downcaster(Won1, in_euros)
TO_2 = Downcaster(Won2, lambda won: Won2(cents=int(won.amount.removesuffix(" EUR")) * 100))


def topic(*events: type[Event]) -> tuple[Topic, ...]:
    return (Topic("test.deals", "test", events),)


BEFORE = Contract(topic(Won1, Lost))
AFTER = Contract(topic(Won2, Lost), upcasters={("test.deal.won", 1): in_cents}, downcasters=(TO_1,))
TOLD = AFTER.writing({"test.deal.won": 1})
PRESENT = Won2(cents=4200, notes=("by phone", "in May"), rank=3)


def heard(event: Event, contract: Contract) -> Recorded:
    """The event as a service under `contract` appends it, and another one hears it."""
    written = contract.as_written(event)
    recorded = Recorded(
        event_id=CUSTOMER,
        type=written.type,
        schema_version=written.version,
        stream_id=CUSTOMER,
        stream_version=1,
        partition_key=CUSTOMER,
        occurred_at=AT,
        recorded_at=AT,
        data=seal(written, event_id=CUSTOMER, subject=CUSTOMER, keys=KEYS),
        sequence=1,
    )
    key, value, headers = to_record(recorded, publisher="test")
    envelope = read_headers(key, headers)
    return replace(
        recorded,
        type=envelope.type,
        schema_version=envelope.schema_version,
        data=value.decode(),
    )


def test_readers_first_the_new_reader_hears_the_old_writer():
    record = heard(Won1(euros=42, note="by phone\nin May"), BEFORE)

    assert read(record, AFTER, KEYS) == Won2(cents=4200, notes=("by phone", "in May"))
    assert read(record, AFTER) == Won2(cents=4200)
    assert read(record, AFTER, {str(CUSTOMER): Destroyed(AT)}).notes is ERASED


def test_publisher_first_told_to_write_version_1_the_old_reader_hears_the_new_writer():
    record = heard(PRESENT, TOLD)

    assert record.schema_version == 1
    assert read(record, BEFORE, KEYS) == Won1(euros=42, note="by phone\nin May")
    assert read(record, BEFORE) == Won1(euros=42)
    assert read(record, BEFORE, {str(CUSTOMER): Destroyed(AT)}).note is ERASED


def test_what_is_written_as_version_1_is_what_the_old_writer_wrote():
    by_new = heard(PRESENT, TOLD)
    by_old = heard(Won1(euros=42, note="by phone\nin May"), BEFORE)

    new, old = json.loads(by_new.data), json.loads(by_old.data)
    assert new.pop("sealed").keys() == old.pop("sealed").keys() == KEYS.keys()
    assert new == old == {"euros": 42}
    assert replace(by_new, data="") == replace(by_old, data="")


def test_the_new_reader_hears_what_a_new_writer_wrote_as_version_1_less_what_it_cannot_say():
    assert read(heard(PRESENT, TOLD), AFTER, KEYS) == PRESENT.model_copy(update={"rank": 0})


def test_once_the_setting_says_so_the_present_version_is_written():
    for contract in (AFTER, TOLD.writing({"test.deal.won": 2})):
        record = heard(PRESENT, contract)

        assert record.schema_version == 2
        assert read(record, AFTER, KEYS) == PRESENT


def test_an_old_reader_that_meets_version_2_says_so_and_reads_the_other_types():
    with pytest.raises(UnknownVersionError, match=r"version 2 of test\.deal\.won") as unknown:
        read(heard(PRESENT, AFTER), BEFORE, KEYS)

    assert (unknown.value.type, unknown.value.version) == ("test.deal.won", 2)
    assert read(heard(Lost(why="price"), AFTER), BEFORE) == Lost(why="price")


def test_an_event_whose_key_was_destroyed_is_written_as_version_1_without_it():
    closed = Won2(cents=4200, notes=ERASED)

    assert json.loads(heard(closed, TOLD).data) == {"euros": 42}


def test_versions_further_apart_are_written_step_by_step():
    later = Contract(topic(Won3), downcasters=(TO_1, TO_2), writes={"test.deal.won": 1})

    assert later.as_written(Won3(amount="42 EUR")) == Won1(euros=42)
    assert later.writing({"test.deal.won": 2}).as_written(Won3(amount="42 EUR")) == Won2(cents=4200)


def test_only_the_named_types_are_written_otherwise():
    lost = Lost(why="price")

    assert TOLD.as_written(lost) is lost


@pytest.mark.parametrize(
    ("writes", "why"),
    [
        ({"test.deal.won": 3}, "test.deal.won cannot be written as version 3"),
        ({"test.deal.won": 0}, "test.deal.won cannot be written as version 0"),
        ({"test.deal.lost": 0}, "test.deal.lost cannot be written as version 0"),
        ({"test.deal.held": 1}, "test.deal.held is no type of the contract"),
    ],
)
def test_a_version_that_cannot_be_written_is_refused_before_anything_is(writes, why):
    with pytest.raises(ValueError, match=why):
        AFTER.writing(writes)


def test_a_step_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="cannot be written as version 1"):
        Contract(topic(Won3), downcasters=(TO_2,), writes={"test.deal.won": 1})


def test_a_downcaster_that_gives_another_class_writes_nothing():
    wrong = Contract(
        topic(Won2), downcasters=(Downcaster(Won1, lambda won: won),), writes={"test.deal.won": 1}
    )

    with pytest.raises(TypeError, match="a downcaster to Won1 gave Won2"):
        wrong.as_written(PRESENT)
