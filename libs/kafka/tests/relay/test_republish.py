"""A topic sent again: the same rows under the same numbers, through to the head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import asyncpg
import pytest
from crm_kafka.relay import page
from crm_kafka.relay.progress import LostPositionError, load
from crm_kafka.relay.relay import Relay
from crm_kafka.relay.republish import NothingToRepublishError, republish
from relaying import Rows, filled, heard, send_all, taken


async def test_from_the_start_everything_comes_once_more_while_rows_are_appended(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows, other: Rows
) -> None:
    relay = relay_of(rows.topic, other.topic)
    for _ in range(5):
        await rows.write(1_000)
        await other.write(500)
    await send_all(relay)

    await republish(pool, rows.topic.name)
    for _ in range(10):
        await rows.write(100)
        await other.write(100)
        await turn_or_reload(relay)
    await send_all(relay)

    records = await heard(kafka, rows.topic)
    assert taken(records) == filled(rows.written)
    times = Counter(one.event_id for one in records)
    twice = [event_id for ids in rows.written.values() for event_id in ids if times[event_id] == 2]
    assert len(twice) >= 5_000
    assert max(times.values()) == 2
    assert rising(records)
    others = await heard(kafka, other.topic)
    assert taken(others) == filled(other.written)
    assert len(others) <= other.count + 100  # the page whose move was lost
    assert (await load(pool)).again == {}


async def test_from_a_number_the_rows_before_it_are_not_sent_again(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows, other: Rows
) -> None:
    relay = relay_of(rows.topic, other.topic)
    for _ in range(3):
        await rows.write(1_200)
        await other.write(300)
    await send_all(relay)
    sent = len(await heard(kafka, rows.topic))

    rewound = await republish(pool, rows.topic.name, from_sequence=200)
    await rows.write(50)
    await turn_or_reload(relay)
    await send_all(relay)

    records = await heard(kafka, rows.topic)
    assert not rewound.already
    assert taken(records) == filled(rows.written)
    assert 0 < len(records) - sent - 50 < sent
    times = Counter((one.partition, one.sequence) for one in records)
    assert all(times[partition, 200] == 2 for partition in rows.written)
    assert rising(records)


async def test_a_relay_that_has_not_heard_of_the_rewind_moves_nothing(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    frozen, leading = relay_of(rows.topic), relay_of(rows.topic)
    await rows.write(2_500)
    await send_all(frozen)

    await republish(pool, rows.topic.name)
    await leading.turn()
    await send_all(leading)
    await republish(pool, rows.topic.name)
    await rows.write(10)
    with pytest.raises(LostPositionError):
        await frozen.turn()
    await turn_or_reload(leading)
    await send_all(leading)
    await send_all(frozen)

    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)
    assert (await load(pool)).again == {}


async def test_an_idle_relay_finds_the_rewind(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    relay = relay_of(rows.topic)
    await rows.write(20)
    await send_all(relay)

    await republish(pool, rows.topic.name)
    await notice(relay)
    await send_all(relay)

    assert len(await heard(kafka, rows.topic)) == 40


async def test_a_topic_on_its_way_from_further_back_stays_there(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    relay = relay_of(rows.topic)
    await rows.write(600)
    await send_all(relay)

    first = await republish(pool, rows.topic.name)
    second = await republish(pool, rows.topic.name, from_sequence=30)
    await notice(relay)
    await send_all(relay)

    assert (first.already, second.already) == (False, True)
    assert len(await heard(kafka, rows.topic)) == 1_200


@pytest.fixture
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SCAN_ROWS", 100)


@pytest.mark.usefixtures("_small_windows")
async def test_rows_of_other_topics_are_looked_at_once_for_each_page(
    relay_of: Callable[..., Relay],
    pool: asyncpg.Pool,
    kafka: str,
    rows: Rows,
    other: Rows,
) -> None:
    relay = relay_of(rows.topic, other.topic)
    await rows.write(50)
    await other.write(1_000)
    await rows.write(50)
    await send_all(relay)

    await republish(pool, rows.topic.name)
    await other.write(300)
    await turn_or_reload(relay)
    await send_all(relay)

    assert taken(await heard(kafka, rows.topic)) == filled(rows.written)
    assert len(await heard(kafka, rows.topic)) == 200
    assert taken(await heard(kafka, other.topic)) == filled(other.written)


async def test_a_number_that_was_never_given_is_refused(
    relay_of: Callable[..., Relay], pool: asyncpg.Pool, kafka: str, rows: Rows
) -> None:
    relay = relay_of(rows.topic)
    await rows.write(10)
    await send_all(relay)

    with pytest.raises(NothingToRepublishError):
        await republish(pool, rows.topic.name, from_sequence=11)
    with pytest.raises(ValueError, match="begin at 1"):
        await republish(pool, rows.topic.name, from_sequence=0)

    assert (await load(pool)).again == {}


async def turn_or_reload(relay) -> None:
    """A turn as `run` takes it: a lost position is read again."""
    try:
        await relay.turn()
    except LostPositionError:
        await relay.turn()


async def notice(relay) -> None:
    """Turns of an idle relay: it looks for rewinds once a second."""
    while not await relay.turn():
        pass


def rising(records) -> bool:
    """After a step back, numbers go up one by one."""
    pairs = [(one, next_) for one, next_ in pairwise(records) if one.partition == next_.partition]
    return all(b.sequence == a.sequence + 1 or b.sequence <= a.sequence for a, b in pairs)
