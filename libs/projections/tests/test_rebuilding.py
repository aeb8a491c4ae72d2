"""Read models built anew beside the live ones, over a real log that goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from crm_projections import checkpoints
from crm_projections.checkpoints import Move, standing_at, standings
from crm_projections.copying import CannotRebuildError
from crm_projections.generation import Generation, OvertakenError
from crm_projections.keyed import KeyedFold
from crm_projections.model import BatchModel
from crm_projections.parking import Waiting
from crm_projections.projector import Projector
from crm_projections.rebuilding import Rebuilding, take_back
from crm_store.clock import utc_now
from crm_store.database import close_pool, open_pool
from crm_store.deeds import deeds_about
from crm_store.errors import sqlstate
from crm_store.ids import new_id
from crm_store.log.tail import head, read_page
from probe import STAYS_OPEN, Counted
from summing import (
    HeldLease,
    Sum,
    catch_up,
    digits_model,
    level,
    projector,
    sums_model,
    worker,
)

TUNE = """
alter table sums set (fillfactor = 70);
create index sums_named on sums (name) where name is not null;
"""
SHAPE = """
select c.relname, c.reloptions, pg_get_indexdef(i.indexrelid) from pg_class c
left join pg_index i on i.indexrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relname like 'sums%' order by 1
"""


@asynccontextmanager
async def rebuilding(probe, installed, model, lease: Any = None):
    """A rebuild of a model, nothing of it made yet; it ends as one whose process was killed."""
    generation = await Generation.of(probe.pool, model)
    async with open_pool(
        installed, application_name="rebuild", max_size=4, schemas=generation.schemas
    ) as beside:
        lease = lease or HeldLease()
        folding = Projector(
            pool=beside,
            log=probe.log,
            models=[model],
            lease=lease,
            wake=asyncio.Event(),
            clock=utc_now,
        )
        yield (
            generation,
            Rebuilding(
                pool=probe.pool,
                beside=beside,
                generation=generation,
                projector=folding,
                lease=lease,
                tell=lambda done, of: None,
            ),
        )
        await close_pool(beside)


async def rebuild(probe, installed, model):
    async with rebuilding(probe, installed, model) as (_, build):
        compared = await build.build()
        await build.switch(by="ann", outcome="ok")
        return compared


@pytest.mark.usefixtures("tables")
async def test_a_model_is_built_anew_while_events_come_and_is_read_all_the_time(probe, installed):
    await probe.pool.execute(TUNE)
    shape = await probe.pool.fetch(SHAPE)
    ann, bob = new_id(), new_id()
    await probe.count(ann, 1, 2)
    await probe.count(bob, 5)
    stop, seen = asyncio.Event(), []

    async def read():
        while not stop.is_set():
            row = await probe.pool.fetchrow("select total, numbers from sums where total < 900")
            seen.append(row)
            await asyncio.sleep(0)

    async def write():
        number = 1000
        while not stop.is_set():
            number += 1
            await probe.count(new_id(), number)

    async with worker(probe, sums_model()), asyncio.TaskGroup() as tasks:
        await level(probe, "sums")
        await probe.pool.execute("update sums set total = 900 where customer_id = $1", ann)
        tasks.create_task(read())
        tasks.create_task(write())
        compared = await rebuild(probe, installed, sums_model())
        stop.set()
        await probe.count(ann, 4)
        await level(probe, "sums")

    rows = {row["customer_id"]: row for row in await probe.pool.fetch("select * from sums")}
    written = await probe.pool.fetchval("select count(distinct partition_key) from log")
    assert (rows[ann]["total"], rows[ann]["numbers"]) == (7, "[1, 2, 4]")
    assert len(rows) == written
    assert all(row["numbers"] == f"[{row['total']}]" for row in rows.values() if row != rows[ann])
    assert None not in seen
    assert compared.differ == 1
    assert [str(one) for one in compared.named] == [f'sums ["{ann}"]: total']
    assert await probe.pool.fetch(SHAPE) == shape
    [deed] = await deeds_about(probe.pool, "sums")
    assert (deed.by, deed.what) == ("ann", "rebuilt")


@pytest.mark.usefixtures("tables")
async def test_a_switch_is_taken_back_with_its_checkpoint_and_what_was_parked(probe, installed):
    """The live tables had a key that this release can fold."""
    good, bad = new_id(), new_id()
    await probe.count(good, 1)
    await probe.count(bad, 99)
    await catch_up(projector(probe, sums_model()))
    able = sums_model()
    able._folds[Counted.type] = lambda row, entry: row or Sum(entry.partition_key, 0, [], None)

    await rebuild(probe, installed, able)
    rebuilt = await probe.pool.fetchval("select count(*) from sums")
    parked = await probe.pool.fetchval("select count(*) from parked_key")
    await probe.count(good, 2)
    await take_back(probe.pool, await Generation.of(probe.pool, able), by="ann")
    await catch_up(projector(probe, sums_model()))

    assert (rebuilt, parked) == (2, 0)
    assert await probe.pool.fetchval("select count(*) from parked_key") == 1
    assert [row["total"] for row in await probe.pool.fetch("select total from sums")] == [3]
    assert await standing_at(probe.pool, "sums", 1) == await head(probe.pool)


@pytest.fixture
async def overtaken(probe, installed, tables):
    """What a worker folded of live rows that were wrong, and had not written at a switch."""
    customer, model = new_id(), sums_model()
    await probe.count(customer, 1)
    await catch_up(projector(probe, model))
    await probe.pool.execute("update sums set total = 900")
    at = (await standings(probe.pool, [("sums", 1)]))["sums", 1]
    await probe.count(customer, 2)
    rows = await read_page(probe.pool, at.position, limit=10, types=[Counted.type])
    entries = await probe.log.logged(rows, opens=True)
    fold = KeyedFold(probe.pool, model)
    made = await fold.make(entries, waiting=Waiting(set()))
    await rebuild(probe, installed, model)
    end = entries[-1]
    return fold, made, Move(model, at.position, end.position, end.recorded_at, at.term)


async def test_a_worker_that_slept_over_the_switch_writes_nothing(probe, overtaken):
    fold, made, move = overtaken

    with pytest.raises(Exception, match="another owner moved it") as refused:
        await fold.write(made, move.fence, ())

    assert sqlstate(refused.value) == "KM001"
    await catch_up(projector(probe, sums_model()))
    assert await probe.pool.fetchval("select total from sums") == 3


async def test_without_the_term_it_would_write_the_old_rows_into_the_new_tables(
    probe, overtaken, monkeypatch
):
    """The fence shown red: both stand at the same place, so the place alone tells nothing."""
    fold, made, move = overtaken
    unfenced = checkpoints.MOVE.replace("and term = $10", "and $10::bigint is not null")
    monkeypatch.setattr(checkpoints, "MOVE", unfenced)

    await fold.write(made, move.fence, ())

    assert await probe.pool.fetchval("select total from sums") == 902


@pytest.mark.usefixtures("tables")
async def test_a_rebuild_that_dies_leaves_the_live_model_alone_and_is_begun_again(probe, installed):
    customer = new_id()
    await probe.count(customer, 1)
    await catch_up(projector(probe, sums_model()))
    async with rebuilding(probe, installed, sums_model()) as (dead, build):
        await build.build()
        await dead.hold(probe.pool)
    await probe.count(customer, 2)

    await rebuild(probe, installed, sums_model())
    async with rebuilding(probe, installed, sums_model()) as (_, late):
        with pytest.raises(OvertakenError):
            await late.switch(by="ann", outcome="nothing was built")

    await catch_up(projector(probe, sums_model()))
    assert await probe.pool.fetchval("select total from sums") == 3


@pytest.mark.usefixtures("tables")
async def test_a_switch_of_two_that_stand_apart_is_refused(probe, installed):
    await probe.count(new_id(), 1)
    await catch_up(projector(probe, sums_model()))
    async with rebuilding(probe, installed, sums_model()) as (generation, build):
        await build.build()
        await probe.count(new_id(), 2)
        await catch_up(projector(probe, sums_model()))

        with pytest.raises(Exception, match="another owner moved it") as refused:
            await generation.take_place(probe.pool, by="ann", outcome="")

    assert sqlstate(refused.value) == "KM001"
    assert await probe.pool.fetchval("select count(*) from sums") == 2


@pytest.mark.usefixtures("tables")
async def test_a_table_that_somebody_uses_is_waited_for_and_read_on_meanwhile(probe, installed):
    await probe.count(new_id(), 1)
    await catch_up(projector(probe, sums_model()))
    async with rebuilding(probe, installed, sums_model()) as (generation, build):
        await build.build()
        async with probe.pool.acquire() as connection, connection.transaction():
            await connection.execute(STAYS_OPEN)
            await connection.execute("select * from sums")
            with pytest.raises(Exception, match="lock timeout") as refused:
                await generation.take_place(probe.pool, by="ann", outcome="")
            switching = asyncio.create_task(build.switch(by="ann", outcome="ok"))
            async with asyncio.timeout(60):  # nobody queues behind the switch, which waits
                for _ in range(20):
                    await probe.pool.execute("select * from sums")
                    await asyncio.sleep(0.01)
            assert not switching.done()
        await asyncio.wait_for(switching, 60)

    assert sqlstate(refused.value) == "55P03"


@pytest.mark.usefixtures("tables")
async def test_what_cannot_be_rebuilt_is_refused_and_nothing_is_left_of_it(probe, installed):
    async def fold(pool, logged):
        raise ValueError("a release that cannot fold")

    shared = BatchModel("shared", 1, (Counted.type,), fold)
    broken = BatchModel("batches", 1, (Counted.type,), fold, tables=("batches",))
    working = replace(broken, fold=lambda pool, logged: nothing())
    await probe.count(new_id(), 1)
    await catch_up(projector(probe, working, digits_model()))

    async with rebuilding(probe, installed, shared) as (_, build):
        with pytest.raises(CannotRebuildError, match="shares its tables with others"):
            await build.build()
    async with rebuilding(probe, installed, broken) as (_, build):
        with pytest.raises(CannotRebuildError, match="ValueError: a release that cannot fold"):
            await build.build()
        await build.drop()
    left = await probe.pool.fetch("select nspname from pg_namespace where nspname like '%\\_next'")
    assert left == []


async def nothing():
    return ()
