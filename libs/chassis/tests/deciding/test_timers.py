"""A timer tells its stream something when it is due: once, and not when the stream went on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from crm_chassis.deciding.draft import Cause, Draft
from crm_chassis.deciding.timers import Timers
from crm_chassis.ids import new_id
from ledger import LEDGER, SHARED, Note, notes
from probe import AT
from summing import HeldLease

if TYPE_CHECKING:
    from probe import Probe

HOUR = timedelta(hours=1)


@dataclass
class Bench:
    """A ledger, its timers, and a clock that stands still."""

    probe: Probe
    now: datetime = AT

    async def note(self, *told: str, stream_id: UUID = SHARED) -> None:
        draft = await Draft.on(self.probe.log, mint_id=new_id)
        for each in told:
            await draft.apply(LEDGER, stream_id, Note(each), cause=Cause(self.now))
        await self.probe.log.append(epoch=draft.epoch, streams=draft.appends, also=draft.timers())

    def timers(self) -> Timers:
        return Timers(
            pool=self.probe.pool,
            log=self.probe.log,
            deciders=[LEDGER],
            lease=HeldLease(),
            clock=lambda: self.now,
            mint_id=new_id,
        )

    async def due(self) -> list[tuple[str, datetime]]:
        rows = await self.probe.pool.fetch("select name, due_at from timer order by due_at")
        return [tuple(row) for row in rows]


@pytest.fixture
async def bench(probe: Probe) -> Bench:
    return Bench(probe)


async def test_a_timer_rings_when_it_is_due_and_not_before(bench: Bench) -> None:
    await bench.note("in 2")

    bench.now += HOUR
    await bench.timers().turn()
    before = await notes(bench.probe)
    bench.now += HOUR
    await bench.timers().turn()
    await bench.timers().turn()

    assert before == ["in 2"]
    assert await notes(bench.probe) == ["in 2", "reminded"]
    assert await bench.due() == []


async def test_a_stream_that_goes_on_clears_its_timer(bench: Bench) -> None:
    await bench.note("in 2")
    await bench.note("something else")

    assert await bench.due() == []


async def test_a_timer_that_is_set_again_moves(bench: Bench) -> None:
    await bench.note("in 2")
    await bench.note("in 5")

    assert await bench.due() == [("remind", AT + 5 * HOUR)]


async def test_a_timer_is_of_its_stream_alone(bench: Bench) -> None:
    other = new_id()
    await bench.note("in 2")
    await bench.note("in 3", stream_id=other)

    bench.now += 2 * HOUR
    await bench.timers().turn()

    assert await bench.due() == [("remind", AT + 3 * HOUR)]


async def test_of_two_who_ring_one_is_heard(bench: Bench) -> None:
    await bench.note("in 2")
    bench.now += 2 * HOUR

    await asyncio.gather(*(bench.timers().turn() for _ in range(4)))

    assert await notes(bench.probe) == ["in 2", "reminded"]


async def test_what_is_refused_is_kept_and_does_not_ring_again(bench: Bench) -> None:
    await bench.probe.pool.execute(
        "insert into timer values ($1, 'remind', 'ledger', $2)", SHARED, AT
    )

    await bench.timers().turn()

    told = await bench.probe.pool.fetchrow(
        "select by, event_id, refusal, detail from refused_command"
    )
    assert tuple(told) == ("ledger", SHARED, "not-wanted", "nobody asked for it")
    assert await bench.due() == []


async def test_a_timer_that_breaks_is_put_off_and_holds_no_other(bench: Bench) -> None:
    await bench.note("in 2")
    broken = new_id()
    await bench.probe.pool.execute(
        "insert into log (epoch, occurred_at, recorded_at, version, schema_version, stream_id,"
        " event_id, partition_key, type, data)"
        " values (1, now(), now(), 1, 1, $1, $1, $1, 'probe.thing.noted', '{\"nothing\": 1}')",
        broken,
    )
    await bench.probe.pool.execute(
        "insert into timer values ($1, 'remind', 'ledger', $2)", broken, AT
    )
    bench.now += 2 * HOUR

    await bench.timers().turn()

    assert await notes(bench.probe) == ["in 2", None, "reminded"]
    [(_, again)] = await bench.due()
    assert again > bench.now


async def test_timers_of_a_kind_that_this_release_lacks_stay(bench: Bench) -> None:
    await bench.probe.pool.execute(
        "insert into timer values ($1, 'remind', 'diary', $2)", SHARED, AT
    )

    await bench.timers().turn()

    assert await bench.due() == [("remind", AT)]
