"""Models that are paused: at once, for whoever folds them, and others go on."""

from __future__ import annotations

import asyncio

import pytest
from crm_chassis.http.reads import Checkpoints, wait_for
from crm_projections.pausing import NotPausedError, pause_model, resume_model
from crm_projections.telling import told_of
from crm_store.clock import utc_now
from crm_store.deeds import deeds_about
from crm_store.errors import sqlstate
from crm_store.ids import new_id
from prometheus_client import REGISTRY
from summing import catch_up, digits_model, level, projector, sums_model, worker


@pytest.mark.usefixtures("tables")
async def test_a_paused_model_stands_and_says_so_until_it_is_resumed_and_others_go_on(probe):
    sums, digits, customer = sums_model(), digits_model(), new_id()
    async with worker(probe, sums, digits):
        await probe.count(customer, 1)
        await level(probe, "sums")

        await pause_model(probe.pool, "sums", by="ann", why="its rows are looked at")
        await probe.count(customer, 2)
        await level(probe, "digits")
        told = await told_of(probe.pool, [sums, digits])
        freshness = await wait_for(Checkpoints(probe.pool, utc_now), (sums,), None)
        other = await wait_for(Checkpoints(probe.pool, utc_now), (digits,), None)
        counted = await probe.pool.fetchval("select total from sums")
        async with asyncio.timeout(60):
            while not REGISTRY.get_sample_value("kith_projection_paused", {"projection": "sums"}):
                await asyncio.sleep(0.01)

    assert (told.paused, counted) == (("sums 1",), 1)
    assert (freshness.stale, other.stale) == ("paused", None)
    async with worker(probe, sums, digits):  # a start is no reason to go on
        await probe.count(customer, 3)
        await level(probe, "digits")
        assert await probe.pool.fetchval("select total from sums") == 1
        await resume_model(probe.pool, "sums", by="bob")
        await level(probe, "sums")
    assert await probe.pool.fetchval("select total from sums") == 6
    deeds = await deeds_about(probe.pool, "sums")
    assert [(deed.by, deed.what) for deed in deeds] == [("ann", "paused"), ("bob", "resumed")]
    assert deeds[0].outcome == "its rows are looked at"


@pytest.mark.usefixtures("tables")
async def test_a_page_that_is_being_folded_when_its_model_is_paused_is_not_written(
    probe, monkeypatch
):
    monkeypatch.setattr("crm_projections.projector.LOOK_EVERY_S", 60.0)
    runner = projector(probe, sums_model())
    await catch_up(runner)
    await probe.count(new_id(), 5)
    await pause_model(probe.pool, "sums", by="ann", why="now")

    with pytest.raises(Exception, match="another owner moved it") as refused:
        await runner.turn()  # it has not looked since

    assert sqlstate(refused.value) == "KM001"
    assert await probe.pool.fetchval("select count(*) from sums") == 0


@pytest.mark.usefixtures("tables")
async def test_a_model_is_paused_and_resumed_once_and_only_if_there_is_one(probe):
    await catch_up(projector(probe, sums_model()))
    await pause_model(probe.pool, "sums", by="ann", why="x")

    with pytest.raises(NotPausedError, match="sums is paused"):
        await pause_model(probe.pool, "sums", by="bob", why="y")
    await resume_model(probe.pool, "sums", by="bob")
    with pytest.raises(NotPausedError, match="sums is at work"):
        await resume_model(probe.pool, "sums", by="bob")
    with pytest.raises(NotPausedError, match="nothing here is called sum"):
        await pause_model(probe.pool, "sum", by="bob", why="y")
