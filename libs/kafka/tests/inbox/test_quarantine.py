"""What could not be heard is kept, and is heard in its place once a release can read it."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from crm_kafka.inbox import quarantine
from crm_kafka.inbox.admission import NOTHING_TAKEN
from crm_kafka.inbox.marks import take_up
from crm_kafka.inbox.rows import hear, row_of
from crm_kafka.inbox.taking import Batch, take
from crm_store.deeds import deeds_about
from wire import message

PLACE = TopicPartition("probe.things", 0)
NAME = "probe.things/0/2"


def record(number: int, *, spoilt: str | None = None) -> ConsumerRecord[bytes, bytes]:
    """The record of a number; with a value that is no text, or a version that is no number."""
    key, value, headers = message(0, number)
    if spoilt == "value":
        value = b"\xff\xfe"
    if spoilt == "version":
        headers = [(name, b"7th" if name == "ce_streamversion" else text) for name, text in headers]
    return ConsumerRecord(
        PLACE.topic, PLACE.partition, number - 1, 1_700_000, 0, key, value, None, 0, 0,
        tuple(headers),
    )  # fmt: skip


async def heard(pool: asyncpg.Pool, *records: ConsumerRecord[bytes, bytes]) -> None:
    await take_up(pool, {PLACE: 0})
    rows = [row_of(hear(each)) for each in records]
    await take(pool, Batch.of(records, rows, {PLACE: NOTHING_TAKEN}))


async def row(pool: asyncpg.Pool, sequence: int = 2) -> Any:
    return await pool.fetchrow(
        "select *, data::text as json from log where sequence = $1", sequence
    )


async def test_a_record_that_this_release_reads_takes_its_place(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = record(2)
    await heard(pool, record(1), record(2, spoilt="value"), record(3))
    before = await row(pool)
    kept = await quarantine.find_quarantined(pool, NAME)
    again = await quarantine.retry(pool, kept, by="ada", dry_run=False)
    monkeypatch.setattr(quarantine, "row_of", lambda _: row_of(hear(good)))  # the next release

    tried = await quarantine.retry(pool, kept, by="ada", dry_run=True)
    untouched = await row(pool)
    done = await quarantine.retry(pool, kept, by="ada", dry_run=False)

    after = await row(pool)
    assert again == "the value is not UTF-8"
    assert (tried, untouched["type"]) == (None, "crm.quarantined")
    assert done is None
    assert after["type"] == (await row(pool, 1))["type"]
    assert after["json"] == good.value.decode()
    assert (after["gp"], after["event_id"]) == (before["gp"], before["event_id"])
    assert await quarantine.list_quarantined(pool) == []
    [deed] = await deeds_about(pool, NAME)
    assert (deed.by, deed.what) == ("ada", "quarantine retry")


async def test_what_was_kept_of_a_record_is_all_of_it(pool: asyncpg.Pool) -> None:
    spoilt = record(2, spoilt="version")
    await heard(pool, record(1), spoilt)
    kept = await quarantine.find_quarantined(pool, NAME)

    found = quarantine._record(kept, await pool.fetchrow(quarantine.KEPT, *kept.place))

    assert (found.key, found.value) == (spoilt.key, spoilt.value)
    assert list(found.headers) == list(spoilt.headers)


async def test_a_record_that_is_given_up_is_of_no_type_that_anybody_folds(
    pool: asyncpg.Pool,
) -> None:
    await heard(pool, record(1), record(2, spoilt="value"))
    kept = await quarantine.find_quarantined(pool, NAME)

    await quarantine.discard(pool, kept, by="ada")

    assert (await row(pool))["type"] == quarantine.DISCARDED
    assert await quarantine.list_quarantined(pool) == []


@pytest.mark.parametrize("name", ["", "probe.things/0/1", "probe.things/0/9", "a/b/c", "1/2/3/4"])
async def test_a_name_of_none_is_refused(pool: asyncpg.Pool, name: str) -> None:
    await heard(pool, record(1), record(2, spoilt="value"))

    with pytest.raises(quarantine.NoSuchRecordError):
        await quarantine.find_quarantined(pool, name)
