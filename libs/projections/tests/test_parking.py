"""What cannot be folded waits, with all that comes behind it; the others go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest
from crm_projections import parked, retrying
from crm_projections.checkpoints import standing_at
from crm_projections.model import Projection
from crm_projections.parking import key_text
from crm_projections.retrying import about
from crm_store.deeds import deeds_about
from crm_store.errors import sqlstate
from crm_store.ids import new_id
from crm_store.log.tail import head
from probe import Counted
from summing import (
    DIGITS,
    SUMS,
    Digit,
    Sum,
    at_work,
    catch_up,
    digits_model,
    projector,
    sums_model,
)

if TYPE_CHECKING:
    from probe import Probe

pytestmark = pytest.mark.usefixtures("tables")

TOO_LARGE = 2**63
KEPT_ASIDE = """
with kept as (
    insert into quarantine (topic, partition, sequence, event_id, kafka_offset, headers, reason)
    values ('probe.things', 0, 1, $1, 0, '[]', 'a test')
)
insert into log (epoch, occurred_at, recorded_at, heard_at, sequence, version, schema_version,
                 partition, stream_id, event_id, partition_key, type, topic, data)
values (1, now(), now(), now(), 1, 1, 1, 0, $1, $1, $1, 'crm.quarantined', 'probe.things', '{}')
"""
HEARD_AFTER_ALL = """
with heard as (delete from quarantine)
update log set type = 'probe.thing.counted', data = '{"number": 5}'
where type = 'crm.quarantined' and partition_key = $1
"""


def mended_model() -> Projection[Sum]:
    """The next release: it folds every number."""
    model = Projection("sums", 1, SUMS, Sum, key=lambda entry: (entry.partition_key,))

    @model.on(Counted)
    def add(row: Sum | None, entry: Any) -> Sum | None:
        before = row or Sum(entry.partition_key, 0, [], None)
        number = entry.event.number
        return Sum(before.customer_id, before.total + number, [*before.numbers, number], None)

    return model


async def numbers_of(probe: Probe, customer: UUID) -> str | None:
    return await probe.pool.fetchval(
        "select numbers::text from sums where customer_id = $1", customer
    )


async def parked_keys(probe: Probe) -> dict[str, int]:
    """Key and how many events wait there."""
    return {one.key: one.events for one in await parked.list_parked(probe.pool)}


async def ask(probe: Probe, what: parked.Ask, projection: str, key: str | None) -> list[str]:
    """What came of it, by key."""
    answers, left = await parked.ask(probe.pool, what, projection, key, by="ada", within_s=60)
    assert not left
    return [outcome for _, outcome in answers]


async def asked_again(probe: Probe, key: str | None) -> asyncio.Task[list[str]]:
    """A retry that was asked for, and that nobody has answered."""
    asking = asyncio.create_task(ask(probe, "retry", "sums", key))
    async with asyncio.timeout(60):
        while await probe.pool.fetchval("select count(*) from parked_key where asked is null"):
            await asyncio.sleep(0.01)
    return asking


async def test_a_key_that_cannot_be_folded_waits_and_the_others_go_on(probe: Probe) -> None:
    ann, bob = new_id(), new_id()
    await probe.count(ann, 1, 2)
    await probe.count(ann, 99, 3)
    await probe.count(bob, 7)
    runner = projector(probe, sums_model())

    await catch_up(runner)
    await probe.count(ann, 4)
    await probe.count(bob, 8)
    await catch_up(runner)

    assert await numbers_of(probe, ann) == "[1, 2]"
    assert await numbers_of(probe, bob) == "[7, 8]"
    assert await standing_at(probe.pool, "sums", 1) == await head(probe.pool)
    [one] = await parked.list_parked(probe.pool)
    assert (one.projection, one.key, one.events) == ("sums", key_text((ann,)), 3)
    assert one.reason == "ValueError: 99 cannot be folded"
    assert one.stack.endswith(" add")
    assert [event.type for event in await parked.events_of(probe.pool, one)] == [Counted.type] * 3


async def test_a_new_owner_knows_what_waits(probe: Probe) -> None:
    ann = new_id()
    await probe.count(ann, 1, 99)
    await catch_up(projector(probe, sums_model()))
    await probe.count(ann, 2)

    await catch_up(projector(probe, sums_model()))

    assert await numbers_of(probe, ann) == "[1]"
    assert await parked_keys(probe) == {key_text((ann,)): 2}


async def test_an_owner_that_was_overtaken_parks_nothing(probe: Probe) -> None:
    zombie, owner = projector(probe, sums_model()), projector(probe, sums_model())
    await catch_up(zombie)
    ann = new_id()
    await probe.count(ann, 99, 1)
    await catch_up(owner)

    with pytest.raises(asyncpg.PostgresError) as refused:
        await zombie.turn()

    assert sqlstate(refused.value) == "KM001"
    assert await parked_keys(probe) == {key_text((ann,)): 2}


async def test_an_event_of_several_keys_is_folded_into_those_that_are_not_parked(
    probe: Probe,
) -> None:
    def keys(entry: Any) -> list[tuple[Any, ...]]:
        return [(int(digit), "any") for digit in str(entry.event.number)]

    model = Projection("digits", 1, DIGITS, Digit, key=keys)

    @model.on(Counted)
    def see(row: Digit | None, entry: Any) -> Digit:
        digit, parity = entry.key
        if digit == 9:
            raise ArithmeticError("no nines")
        return Digit(digit, parity, 1 if row is None else int(row.seen) + 1)

    await probe.count(new_id(), 191, 92, 3)

    await catch_up(projector(probe, model))

    rows = await probe.pool.fetch("select digit, seen from digits")
    assert {row["digit"]: int(row["seen"]) for row in rows} == {1: 2, 2: 1, 3: 1}
    assert await parked_keys(probe) == {'[9,"any"]': 2}


async def test_a_value_that_postgresql_refuses_is_found_among_the_others(probe: Probe) -> None:
    customers = [new_id() for _ in range(40)]
    for number, customer in enumerate(customers):
        await probe.count(customer, 200 + number, TOO_LARGE if number in {11, 30} else 100)

    await catch_up(projector(probe, sums_model()))

    refused = {key_text((customers[n],)) for n in (11, 30)}
    assert await parked_keys(probe) == dict.fromkeys(refused, 1)
    assert await numbers_of(probe, customers[11]) == "[211]"
    rows = await probe.pool.fetch("select total from sums order by total")
    assert [row["total"] for row in rows] == sorted(
        [211, 230, *(n + 300 for n in range(40) if n not in {11, 30})]
    )


async def test_an_event_whose_key_cannot_be_told_makes_its_customer_wait(probe: Probe) -> None:
    def key(entry: Any) -> tuple[Any, ...]:
        if entry.event.number == 99:
            raise KeyError("no key")
        return (entry.partition_key,)

    strict = mended_model()
    strict.key = key
    ann, bob = new_id(), new_id()
    await probe.count(ann, 1, 99, 2)
    await probe.count(bob, 3)

    await catch_up(projector(probe, strict))

    assert await parked_keys(probe) == {f"customer {ann}": 2}
    assert await numbers_of(probe, ann) == "[1]"
    async with at_work(projector(probe, mended_model())):
        assert await ask(probe, "retry", "sums", f"customer {ann}") == ["2 events were folded"]
    assert await numbers_of(probe, ann) == "[1, 99, 2]"


async def test_what_waits_is_folded_in_order_when_a_release_can(probe: Probe) -> None:
    ann = new_id()
    await probe.count(ann, 1, 99, 2)
    await catch_up(projector(probe, sums_model()))

    async with at_work(projector(probe, mended_model())):
        assert await ask(probe, "try", "sums", key_text((ann,))) == ["2 events can be folded"]
        tried = await numbers_of(probe, ann), await parked_keys(probe)
        await ask(probe, "retry", "sums", key_text((ann,)))
        await probe.count(ann, 3)
        while await standing_at(probe.pool, "sums", 1) < await head(probe.pool):
            await asyncio.sleep(0.02)

    assert tried == ("[1]", {key_text((ann,)): 2})
    assert await numbers_of(probe, ann) == "[1, 99, 2, 3]"
    assert await parked_keys(probe) == {}
    deeds = await deeds_about(probe.pool, about("sums", 1, key_text((ann,))))
    assert [(deed.by, deed.what, deed.outcome) for deed in deeds] == [
        ("ada", "parked try", "2 events can be folded"),
        ("ada", "parked retry", "2 events were folded"),
    ]


async def test_between_the_parts_of_a_long_retry_others_are_folded(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "EVENTS_AT_ONCE", 2)
    ann, bob = new_id(), new_id()
    await probe.count(ann, 99, 1, 2, 3, 4)
    await catch_up(projector(probe, sums_model()))
    runner = projector(probe, mended_model())
    asking = await asked_again(probe, key_text((ann,)))
    await probe.count(bob, 7)

    await runner.turn()
    part = await numbers_of(probe, ann), await numbers_of(probe, bob)
    await catch_up(runner)
    await runner.turn()

    assert part == ("[99, 1]", "[7]")
    assert await asking == ["5 events were folded"]
    assert await numbers_of(probe, ann) == "[99, 1, 2, 3, 4]"


async def test_what_is_asked_of_many_keys_leaves_the_folds_their_turn(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "LONGEST_S", 0.0)
    ann, bob, eve = new_id(), new_id(), new_id()
    await probe.count(ann, 99)
    await probe.count(bob, 99)
    await catch_up(projector(probe, sums_model()))
    runner = projector(probe, mended_model())
    asking = await asked_again(probe, None)
    await probe.count(eve, 7)

    await runner.turn()
    still, folded = len(await parked_keys(probe)), await numbers_of(probe, eve)
    await runner.turn()

    assert (still, folded) == (1, "[7]")
    assert await asking == ["1 events were folded"] * 2


async def test_what_fails_again_waits_on_behind_what_went(probe: Probe) -> None:
    ann = new_id()
    await probe.count(ann, 1, 99, 2, TOO_LARGE, 3)
    await catch_up(projector(probe, sums_model()))

    async with at_work(projector(probe, mended_model())):
        [outcome] = await ask(probe, "retry", "sums", key_text((ann,)))

    assert outcome.startswith("2 events were folded, then DataError")
    assert await numbers_of(probe, ann) == "[1, 99, 2]"
    assert await parked_keys(probe) == {key_text((ann,)): 2}


async def test_what_is_in_quarantine_makes_its_customer_wait_until_it_is_heard(
    probe: Probe,
) -> None:
    ann, bob = new_id(), new_id()
    await probe.count(ann, 1)
    await probe.pool.execute(KEPT_ASIDE, ann)
    await probe.count(ann, 2)
    await probe.count(bob, 3)
    await catch_up(projector(probe, sums_model()))
    waits = await parked_keys(probe), await numbers_of(probe, ann)

    async with at_work(projector(probe, sums_model())):
        [still] = await ask(probe, "retry", "sums", f"customer {ann}")
        await probe.pool.execute(HEARD_AFTER_ALL, ann)
        await ask(probe, "retry", "sums", f"customer {ann}")

    assert waits == ({f"customer {ann}": 2}, "[1]")
    assert still == "0 events were folded, then KeptAsideError: probe.things/0 number 1"
    assert await numbers_of(probe, ann) == "[1, 5, 2]"
    assert await numbers_of(probe, bob) == "[3]"


async def test_what_is_discarded_is_passed_over_for_good(probe: Probe) -> None:
    ann, bob = new_id(), new_id()
    await probe.count(ann, 1, 99, 2)
    await probe.count(bob, 99)
    runner = projector(probe, sums_model())
    await catch_up(runner)

    async with at_work(projector(probe, sums_model())):
        outcomes = await ask(probe, "discard", "sums", None)
        await probe.count(ann, 3)
        while await standing_at(probe.pool, "sums", 1) < await head(probe.pool):
            await asyncio.sleep(0.02)

    assert sorted(outcomes) == ["1 events were passed over", "2 events were passed over"]
    assert await numbers_of(probe, ann) == "[1, 3]"
    assert await parked_keys(probe) == {}


@pytest.mark.parametrize(("bad", "stops"), [(19, False), (20, True)])
async def test_twenty_in_a_row_are_the_release_and_not_the_data(
    probe: Probe, bad: int, *, stops: bool
) -> None:
    good = new_id()
    await probe.count(good, 1)
    runner = projector(probe, sums_model(), digits_model())
    await catch_up(runner)
    where = await standing_at(probe.pool, "sums", 1)
    for _ in range(bad):
        await probe.count(new_id(), 99)
    await probe.count(good, 2)

    await catch_up(runner)

    stopped = await probe.pool.fetchval(
        "select stopped from projection_checkpoint where name = 'sums'"
    )
    assert (stopped is not None) is stops
    assert (await standing_at(probe.pool, "sums", 1) == where) is stops
    assert len(await parked_keys(probe)) == (0 if stops else bad)
    assert await standing_at(probe.pool, "digits", 1) == await head(probe.pool)


async def test_a_hundred_among_ten_thousand_are_the_release_too(probe: Probe) -> None:
    runner = projector(probe, sums_model())
    for _ in range(99):
        await probe.count(new_id(), 99, 1)
        await probe.count(new_id(), 1)
    await catch_up(runner)
    before = len(await parked_keys(probe))
    await probe.count(new_id(), 99)

    await catch_up(runner)

    stopped = await probe.pool.fetchval("select stopped from projection_checkpoint")
    assert before == 99
    assert stopped.startswith("TooManyFailuresError: ")
    assert len(await parked_keys(probe)) == before
