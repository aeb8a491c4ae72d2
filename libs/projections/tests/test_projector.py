"""Read models over a real log: each event folded once, whoever else tries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from crm_projections.checkpoints import standing_at
from crm_projections.model import BatchModel, as_of
from crm_store import lease
from crm_store.errors import sqlstate
from crm_store.ids import new_id
from crm_store.lease import Lease
from crm_store.log.entries import NewEvent, Statement, StreamAppend
from crm_store.log.logged import LoggedEvent
from crm_store.log.position import START
from crm_store.log.tail import head, read_page
from probe import AT, Counted, Named
from summing import catch_up, digits_model, projector, sums_model


@pytest.mark.usefixtures("tables")
async def test_every_event_is_folded_once_in_order(probe):
    ann, bob = new_id(), new_id()
    await probe.count(ann, 1, 2, 3)
    await probe.count(bob, 7)
    runner = projector(probe, sums_model())
    await catch_up(runner)
    await probe.count(ann, 4)

    await catch_up(runner)

    rows = {row["customer_id"]: row for row in await probe.pool.fetch("select * from sums")}
    assert rows[ann]["total"] == 10
    assert rows[ann]["numbers"] == "[1, 2, 3, 4]"
    assert rows[bob]["total"] == 7
    assert await standing_at(probe.pool, "sums", 1) == await head(probe.pool)


@pytest.mark.usefixtures("tables")
async def test_a_new_owner_goes_on_where_the_checkpoint_stands(probe):
    customer = new_id()
    await probe.count(customer, 1)
    await catch_up(projector(probe, sums_model()))
    await probe.count(customer, 2)

    await catch_up(projector(probe, sums_model()))

    assert await probe.pool.fetchval("select total from sums") == 3


@pytest.mark.usefixtures("tables")
async def test_of_two_owners_one_writes_and_the_other_is_told_so(probe):
    """A zombie that woke up inside a batch: its checkpoint is where it was, not where it is."""
    customer = new_id()
    zombie, owner = projector(probe, sums_model()), projector(probe, sums_model())
    await catch_up(zombie)
    await probe.count(customer, 5)
    await catch_up(owner)

    with pytest.raises(asyncpg.PostgresError) as refused:
        await zombie.turn()

    assert sqlstate(refused.value) == "KM001"
    assert await probe.pool.fetchval("select total from sums") == 5


@pytest.mark.usefixtures("tables")
async def test_without_the_compare_and_set_the_zombie_would_count_twice(probe, monkeypatch):
    """The fence shown red: the same interleaving when the checkpoint moves unconditionally."""
    customer = new_id()
    zombie, owner = projector(probe, sums_model()), projector(probe, sums_model())
    await catch_up(zombie)
    await probe.count(customer, 5)
    await catch_up(owner)
    unfenced = """
        update projection_checkpoint
        set epoch = $1, xid = $2::text::xid8, gp = $3, recorded_at = $4
        where name = $5 and version = $6
          and ($7::int, $8::text, $9::bigint, $10::bigint) is not null
    """
    monkeypatch.setattr("crm_projections.checkpoints.MOVE", unfenced)

    await zombie.turn()

    assert await probe.pool.fetchval("select total from sums") == 10


async def test_a_page_is_folded_in_the_order_in_which_models_are_given(probe):
    """Also where the table of checkpoints has them in another one."""
    folded: list[str] = []

    def noting(name: str) -> BatchModel:
        async def fold(_: asyncpg.Pool, __: Sequence[LoggedEvent[Any]]) -> Sequence[Statement]:
            folded.append(name)
            return ()

        return BatchModel(name=name, version=1, types=(Counted.type,), fold=fold)

    for names in (("a", "b", "c"), ("c", "a", "b")):
        await probe.count(new_id(), 1)
        folded.clear()

        await catch_up(projector(probe, *map(noting, names)))

        assert folded == list(names)


@pytest.mark.usefixtures("tables")
async def test_a_batch_model_that_raises_stops_and_no_other(probe):
    async def fold(pool: asyncpg.Pool, logged: Sequence[LoggedEvent[Any]]) -> list[Statement]:
        if any(entry.event.number == 99 for entry in logged):
            raise ValueError("99 cannot be folded")
        return [Statement("insert into batches values ($1)", (len(logged),))]

    await probe.count(new_id(), 1)
    runner = projector(probe, BatchModel("batches", 1, (Counted.type,), fold), digits_model())
    await catch_up(runner)
    where = await standing_at(probe.pool, "batches", 1)
    await probe.count(new_id(), 99, 2)

    await catch_up(runner)

    assert await probe.pool.fetchval("select sum(n) from batches") == 1
    assert await standing_at(probe.pool, "batches", 1) == where
    assert await standing_at(probe.pool, "digits", 1) == await head(probe.pool)
    stopped = await probe.pool.fetchval(
        "select stopped from projection_checkpoint where name = 'batches'"
    )
    assert stopped == "ValueError: 99 cannot be folded"


@pytest.mark.usefixtures("tables")
async def test_an_event_may_belong_to_several_rows_and_take_a_row_away(probe):
    ann, bob = new_id(), new_id()
    await probe.count(ann, 22, 123)
    await probe.count(bob, 13)
    runner = projector(probe, sums_model(), digits_model())
    await catch_up(runner)
    await probe.count(ann, 13)

    await catch_up(runner)

    seen = {
        row["digit"]: int(row["seen"]) for row in await probe.pool.fetch("select * from digits")
    }
    assert seen == {1: 3, 2: 3, 3: 3}
    assert await probe.pool.fetchval("select count(*) from sums") == 0


@pytest.mark.usefixtures("tables")
async def test_a_model_that_opens_reads_personal_fields(probe):
    customer = new_id()
    await probe.mint(customer)
    named = NewEvent(Named(name="Ada"), new_id(), AT, customer)
    await probe.log.append(streams=[StreamAppend(customer, 0, (named,))])

    await catch_up(projector(probe, sums_model()))

    assert await probe.pool.fetchval("select name from sums") == "Ada"


@pytest.mark.usefixtures("tables")
async def test_a_batch_model_writes_with_its_checkpoint_or_not_at_all(probe):
    async def fold(pool: asyncpg.Pool, logged: Sequence[LoggedEvent[Any]]) -> list[Statement]:
        return [Statement("insert into batches values ($1)", (len(logged),))]

    model = BatchModel("batches", 1, (Counted.type,), fold)
    zombie, owner = projector(probe, model), projector(probe, model)
    await catch_up(zombie)
    await probe.count(new_id(), 1, 2)
    await catch_up(owner)

    with pytest.raises(asyncpg.PostgresError):
        await zombie.turn()

    assert [row["n"] for row in await probe.pool.fetch("select n from batches")] == [2]


@pytest.mark.usefixtures("tables")
async def test_the_reason_a_model_stopped_for_quotes_no_value(probe):
    async def fold(pool: asyncpg.Pool, logged: Sequence[LoggedEvent[Any]]) -> list[Statement]:
        return [Statement("insert into mails values ($1)", ("ann@example.org",))]

    await probe.pool.execute("create table mails (mail text primary key)")
    await probe.pool.execute("insert into mails values ('ann@example.org')")
    await probe.count(new_id(), 1)

    await catch_up(projector(probe, BatchModel("mails", 1, (Counted.type,), fold)))

    stopped = await probe.pool.fetchval("select stopped from projection_checkpoint")
    assert stopped.startswith("UniqueViolationError: SQLSTATE 23505")
    assert "ann" not in stopped


@pytest.mark.usefixtures("tables")
async def test_models_at_different_places_both_reach_the_head(probe):
    customer = new_id()
    await probe.count(customer, *range(1, 9))
    await catch_up(projector(probe, digits_model()))
    await probe.count(customer, 9)

    await catch_up(projector(probe, digits_model(), sums_model()))

    assert await probe.pool.fetchval("select total from sums") == 45
    assert await probe.pool.fetchval("select sum(seen) from digits") == 9


async def test_a_past_instant_is_the_same_fold_over_fewer_events(probe):
    customer = new_id()
    await probe.count(customer, 1, 2, 3)
    rows = await probe.pool.fetch("select l.gp from log l order by l.gp")
    page = await read_page(probe.pool, START, limit=len(rows) - 1, types=[Counted.type])
    state = as_of(sums_model(), await probe.log.logged(page, opens=False))

    assert state[customer,].total == 3


@pytest.mark.usefixtures("tables")
async def test_the_loop_wakes_for_new_rows_and_ends_when_told(probe):
    customer, stop = new_id(), asyncio.Event()
    lease = Lease(probe.pool, name="worker", owner="one")
    runner = projector(probe, sums_model(), lease=lease)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(lease.run(stop, beat=lambda: None))
        tasks.create_task(runner.run(stop, beat=lambda: None))
        await probe.count(customer, 41, 1)
        target = await head(probe.pool)
        while await standing_at(probe.pool, "sums", 1) < target:
            await asyncio.sleep(0.01)
        stop.set()

    assert await probe.pool.fetchval("select total from sums") == 42


async def test_one_process_holds_the_lease_and_the_next_takes_it_when_it_expires(
    probe, monkeypatch
):
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 60.0)
    now = [100.0]
    one = Lease(probe.pool, name="worker", owner="one", monotonic=lambda: now[0])
    two = Lease(probe.pool, name="worker", owner="two", monotonic=lambda: now[0])

    await one._renew()
    await two._renew()
    assert (one.held, two.held) == (True, False)

    now[0] += 61.0  # what a frozen process finds when it wakes
    assert not one.held
    await probe.pool.execute("update lease set until = clock_timestamp() - interval '1 second'")
    await two._renew()
    await one._renew()
    assert (one.held, two.held) == (False, True)
