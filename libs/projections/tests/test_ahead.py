"""A release with another version of a model, built beside the release that serves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from crm_projections.ahead import build_ahead, drop_old_versions, to_be_built
from crm_projections.checkpoints import SharedTableError
from crm_projections.copying import CannotRebuildError
from crm_projections.model import Projection
from crm_projections.telling import told_of
from crm_store.ids import new_id
from probe import Counted
from sqlalchemy import BigInteger, Column, MetaData, Table, Uuid
from summing import catch_up, level, projector, sums_model, worker

MEANS = Table(
    "sums_2",
    MetaData(),
    Column("customer_id", Uuid, primary_key=True),
    Column("counted", BigInteger, nullable=False),
    Column("mean", BigInteger, nullable=False),
)
CREATE = "create table sums_2 (customer_id uuid primary key, counted bigint, mean bigint)"


@dataclass(frozen=True, slots=True)
class Mean:
    customer_id: UUID
    counted: int
    mean: int


def next_version() -> Projection[Mean]:
    """The same model with another meaning, in a table of its own."""
    model = Projection("sums", 2, MEANS, Mean, key=lambda entry: (entry.partition_key,))

    @model.on(Counted)
    def add(row, entry):
        before = row or Mean(entry.partition_key, 0, 0)
        total = before.counted * before.mean + entry.event.number
        return replace(before, counted=before.counted + 1, mean=total // (before.counted + 1))

    return model


@pytest.mark.usefixtures("tables")
async def test_two_releases_fold_their_versions_side_by_side_until_the_old_one_ends(probe):
    """One customer, with 2, 6 and 10: the old release sums, the new one takes the mean."""
    old, new, customer, built = sums_model(), next_version(), new_id(), asyncio.Event()
    async with worker(probe, old):
        await probe.count(customer, 2, 6)
        await level(probe, "sums")
        await probe.pool.execute(CREATE)
        before = await told_of(probe.pool, [new])
        runner = projector(probe, new)
        runner._pages._rows = 1  # behind the first page it is not level
        ahead = asyncio.create_task(
            build_ahead(
                probe.pool,
                runner,
                await to_be_built(probe.pool, [new]),
                stop=asyncio.Event(),
                tell=lambda done, of: None,
                when_level=built.set,
            )
        )
        await asyncio.wait_for(built.wait(), 60)
        after, of_old = await told_of(probe.pool, [new]), await told_of(probe.pool, [old])
        await probe.count(customer, 10)
        await level(probe, "sums")
        await level(probe, "sums", version=2)
        both = await probe.pool.fetchrow(
            "select total, mean from sums join sums_2 using (customer_id)"
        )

    assert (before.building, after.building, of_old.building) == (("sums 2",), (), ())
    assert tuple(both) == (18, 6)
    async with worker(probe, new):
        while not ahead.done():  # until the worker was the faster of the two once
            await probe.count(new_id(), 6)
            await level(probe, "sums", version=2)
        assert ahead.result(), "a worker of the new release folds it now"
        with pytest.raises(CannotRebuildError, match="sums 1 was folded within 60 s"):
            await drop_old_versions(probe.pool, [new])
        await probe.pool.execute(
            "update projection_checkpoint set moved_at = now() - interval '2 min' where version = 1"
        )
        assert await drop_old_versions(probe.pool, [new]) == ["sums 1: sums"]
        await probe.count(customer, 9)
        await level(probe, "sums", version=2)

    counted = await probe.pool.fetchval("select sum(counted) from sums_2")
    assert counted == await probe.pool.fetchval("select count(*) from log")
    assert await probe.pool.fetchval("select to_regclass('sums')") is None


@pytest.mark.usefixtures("tables")
async def test_a_version_that_would_be_folded_into_the_rows_of_another_is_refused(probe):
    await probe.count(new_id(), 1)
    await catch_up(projector(probe, sums_model()))
    same_table = replace(sums_model(), version=2)

    with pytest.raises(CannotRebuildError, match="into sums, which version 1 keeps"):
        await to_be_built(probe.pool, [same_table])
    with pytest.raises(SharedTableError):
        await projector(probe, same_table).turn()

    assert await probe.pool.fetchval("select total from sums") == 1
