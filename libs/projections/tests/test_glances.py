"""Models that glance at a page fold what models that decode it fold, and stop at the same row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from crm_projections import pages
from crm_projections.checkpoints import standing_at
from crm_projections.model import BatchModel, GlanceModel
from crm_projections.projector import Projector
from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.log.entries import Statement
from crm_store.log.position import START
from crm_store.log.tail import Glance, read_glances, read_page
from probe import Counted, Named, Probe

TABLES = """
create table decoded (customer_id uuid primary key, facts bigint, total bigint);
create table glanced (customer_id uuid primary key, facts bigint, total bigint);
"""
ADD = """
insert into {0} as t select * from unnest($1::uuid[], $2::bigint[], $3::bigint[])
on conflict (customer_id) do update
    set facts = t.facts + excluded.facts, total = t.total + excluded.total
"""
PAGE_ROWS = 7


def added(table: str, numbers: Sequence[tuple[UUID, int]]) -> list[Statement]:
    customers = list(dict.fromkeys(customer for customer, _ in numbers))
    facts = [sum(one == customer for one, _ in numbers) for customer in customers]
    totals = [sum(n for one, n in numbers if one == customer) for customer in customers]
    return [Statement(ADD.format(table), (customers, facts, totals))]


async def decode(pool: asyncpg.Pool, logged: Sequence[Any]) -> Sequence[Statement]:
    return added("decoded", [(one.partition_key, one.event.number) for one in logged])


def weigh(glances: Sequence[Glance]) -> list[tuple[UUID, int]]:
    return [(one.partition_key, one.data["number"]) for one in glances]


async def glance(pool: asyncpg.Pool, weighed: list[tuple[UUID, int]]) -> Sequence[Statement]:
    return added("glanced", weighed)


DECODES = BatchModel("decodes", 1, (Counted.type,), decode)
GLANCES = GlanceModel("glances", 1, (Counted.type,), weigh, glance, with_data=(Counted.type,))


async def nothing_to_write(_pool: asyncpg.Pool, _weighed: object) -> Sequence[Statement]:
    return ()


class Held:
    async def wait_held(self, seconds: float) -> bool:
        return True


@pytest.fixture
async def filled(probe: Probe, monkeypatch) -> list[UUID]:
    """A log of several pages, most rows of a type that is folded, and some of another."""
    monkeypatch.setattr(pages, "PAGE_ROWS", PAGE_ROWS)
    async with probe.pool.acquire() as connection:
        await connection.execute(TABLES)
    customers = [new_id() for _ in range(5)]
    for number in range(4):
        for customer in customers:
            await probe.count(customer, *range(number * 10, number * 10 + 3))
    return customers


def folding(probe: Probe, *models: Any) -> Projector:
    return Projector(
        pool=probe.pool,
        log=probe.log,
        models=models,
        lease=Held(),
        wake=asyncio.Event(),
        clock=utc_now,
    )


async def test_a_model_that_glances_writes_what_one_that_decodes_writes(probe, filled):
    both = folding(probe, DECODES, GLANCES)

    while await both.turn():
        pass

    decoded = await probe.pool.fetch("select * from decoded order by 1")
    glanced = await probe.pool.fetch("select * from glanced order by 1")
    assert len(decoded) == len(filled)
    assert decoded == glanced
    assert await standing_at(probe.pool, "decodes", 1) == await standing_at(
        probe.pool, "glances", 1
    )


async def test_a_model_that_cannot_weigh_a_page_stops_there_and_alone(probe, filled):
    def weigh_below_20(glances: Sequence[Glance]) -> list[tuple[UUID, int]]:
        weighed = weigh(glances)
        if any(number >= 20 for _, number in weighed):
            raise LookupError("20 and more weigh nothing")
        return weighed

    unready = replace(GLANCES, name="unready", weigh=weigh_below_20, fold=nothing_to_write)
    both = folding(probe, unready, GLANCES)

    while await both.turn():
        pass

    rows = await probe.pool.fetch("select name, stopped from projection_checkpoint order by name")
    assert [tuple(row) for row in rows] == [
        ("glances", None),
        ("unready", "LookupError: 20 and more weigh nothing"),
    ]
    facts = await probe.pool.fetchval("select sum(facts) from glanced")
    assert facts == 4 * 3 * len(filled)
    stands = await standing_at(probe.pool, "unready", 1)
    assert START < stands < await standing_at(probe.pool, "glances", 1)


async def test_two_versions_of_one_model_need_not_find_the_same_on_a_page(probe, filled):
    """A new version in shadow may count other types; this one finds nothing."""
    shadow = replace(GLANCES, version=2, types=(Named.type,), fold=nothing_to_write)
    both = folding(probe, GLANCES, shadow)

    while await both.turn():
        pass

    rows = await probe.pool.fetch("select version, stopped from projection_checkpoint order by 1")
    assert [tuple(row) for row in rows] == [(1, None), (2, None)]
    assert await standing_at(probe.pool, "glances", 2) == await standing_at(
        probe.pool, "glances", 1
    )


async def test_a_page_read_ahead_is_not_folded_by_an_owner_that_lost(probe, filled):
    """Another owner moves the checkpoint while the next page lies in memory."""
    first, second = folding(probe, GLANCES), folding(probe, GLANCES)

    await first.turn()  # its second page is being read now
    while await second.turn():
        pass
    with pytest.raises(asyncpg.PostgresError, match="another owner moved it"):
        await first.turn()

    facts = await probe.pool.fetchval("select sum(facts) from glanced")
    assert facts == 4 * 3 * len(filled)


async def test_a_page_that_was_read_for_some_models_is_not_given_to_others(probe, filled):
    """One model is a page behind another: what is read ahead for it begins where that stands."""
    names = BatchModel("names", 1, (Named.type,), decode)
    await folding(probe, DECODES).turn()
    both = folding(probe, names, DECODES)
    await both._read_checkpoints()
    stands = await standing_at(probe.pool, "decodes", 1)

    await both._fold_page(START, [names])  # and reads on behind it, for names alone
    await both._fold_page(stands, [DECODES])

    stopped = await probe.pool.fetch("select name, stopped from projection_checkpoint")
    assert {row["name"]: row["stopped"] for row in stopped} == {"names": None, "decodes": None}
    assert await standing_at(probe.pool, "decodes", 1) > stands
    await both.forget()


async def test_ids_and_json_come_only_where_they_are_asked_for(probe, filled):
    types = [Counted.type, Named.type]
    everything = await read_glances(
        probe.pool, START, limit=100, types=types, with_id=types, with_data=types
    )
    nothing = await read_glances(
        probe.pool, START, limit=100, types=types, with_id=(), with_data=()
    )
    page = await read_page(probe.pool, START, limit=100, types=types)

    assert [one.event_id for one in everything.glances] == [row["event_id"] for row in page]
    assert [one.json for one in everything.glances] == [row["data"] for row in page]
    assert {(one.event_id, one.json, one.schema_version) for one in nothing.glances} == {
        (None, None, 1)
    }
    assert [one.partition_key for one in nothing.glances] == [row["partition_key"] for row in page]


async def test_a_page_of_other_types_is_passed_over(probe, filled):
    other = await read_glances(
        probe.pool, START, limit=PAGE_ROWS, types=[Named.type], with_id=(), with_data=()
    )

    assert other.rows == PAGE_ROWS
    assert other.glances == []
    behind = await read_page(probe.pool, START, limit=PAGE_ROWS, types=[Named.type])
    assert len(behind) == 1, "only the last row comes over: it says where the page ends"
    assert behind[0]["rows"] == PAGE_ROWS
