"""A timer tells its stream something when it is due: once, and not when the stream went on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from crm_deciding import retiming
from crm_deciding.decider import Decider, Timer
from crm_deciding.draft import Cause, Draft
from crm_deciding.retiming import Retiming
from crm_deciding.timers import Timers
from crm_store.errors import NewEpochError
from crm_store.ids import new_id
from crm_store.tracing import serving
from ledger import LEDGER, SHARED, Ledger, Note, notes
from probe import AT, STAYS_OPEN
from summing import HeldLease
from tracked import OTHER, SAMPLED

if TYPE_CHECKING:
    from probe import Probe

HOUR = timedelta(hours=1)
WAITING = "select count(*) from pg_locks where locktype = 'advisory' and not granted"


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

    async def all_made(self, **changed: Any) -> None:
        """Make timers anew, if that is due, by a ledger of which something is changed."""
        decider = replace(LEDGER, **changed)
        making = Retiming(pool=self.probe.pool, log=self.probe.log, deciders=[decider])
        while await making.turn():
            pass

    def timers(self, **changed: Any) -> Timers:
        return Timers(
            pool=self.probe.pool,
            log=self.probe.log,
            deciders=[replace(LEDGER, **changed)],
            lease=HeldLease(),
            clock=lambda: self.now,
            mint_id=new_id,
        )

    async def due(self) -> list[tuple[str, datetime]]:
        rows = await self.probe.pool.fetch("select name, due_at from timer order by due_at")
        return [tuple(row) for row in rows]


def twice_as_late(state: Ledger) -> tuple[Timer, ...]:
    return tuple(Timer(one.name, AT + 2 * (one.due_at - AT)) for one in LEDGER.timers(state))


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


async def test_a_timer_that_rings_too_early_is_moved_to_when_it_is_due(bench: Bench) -> None:
    await bench.note("in 2")
    await bench.all_made()
    await bench.probe.pool.execute("update timer set due_at = $1", AT)

    await bench.timers(ring=lambda *_: Note("nothing")).turn()

    assert await bench.due() == [("remind", AT + 2 * HOUR)]


async def test_what_a_timer_leads_to_goes_on_with_the_trace_of_what_set_it(bench: Bench) -> None:
    await bench.probe.mint(SHARED)
    for note, traceparent in (("in 1", OTHER), ("in 2", SAMPLED), ("name", OTHER)):
        with serving(traceparent):
            await bench.note(note)

    bench.now += 2 * HOUR
    await bench.timers().turn()

    rows = await bench.probe.pool.fetch(
        "select meta::json ->> 'traceparent' as told from log order by gp"
    )
    assert [row["told"] for row in rows] == [OTHER, SAMPLED, OTHER, SAMPLED]


async def test_timers_are_made_anew_where_what_they_follow_from_is_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retiming, "STREAMS_AT_ONCE", 3)
    streams = [new_id() for _ in range(7)]
    for stream_id in streams:
        await bench.note("in 2", stream_id=stream_id)
    await bench.note("in 3", "enough", stream_id=new_id())
    await bench.all_made()

    await bench.all_made(timers=twice_as_late, basis="two hours")

    assert await bench.due() == [("remind", AT + 4 * HOUR)] * 7
    assert await bench.probe.pool.fetchval("select count(distinct stream_id) from timer") == 7


async def test_timers_are_made_anew_in_a_log_to_which_records_came_back(bench: Bench) -> None:
    await bench.note("in 2")
    await bench.all_made()
    await bench.probe.pool.execute("delete from timer")
    await bench.timers().turn()
    before = await bench.due()

    await bench.probe.pool.execute("update log_epoch set recovered = true, epoch = epoch + 1")
    with pytest.raises(NewEpochError):
        await bench.all_made()
    await bench.all_made()

    assert before == []
    assert await bench.due() == [("remind", AT + 2 * HOUR)]


async def test_what_is_appended_while_timers_are_made_anew_is_not_overwritten(
    bench: Bench,
) -> None:
    await bench.note("in 2")
    async with bench.probe.pool.acquire() as holder, holder.transaction():
        await holder.execute(STAYS_OPEN)
        await holder.execute(
            "select pg_advisory_xact_lock(hashtextextended($1::text, 0))", str(SHARED)
        )
        making = asyncio.create_task(bench.all_made())
        appending = asyncio.create_task(bench.note("in 5"))
        async with asyncio.timeout(60):
            while await bench.probe.pool.fetchval(WAITING) < 2:
                await asyncio.sleep(0.01)
    await asyncio.gather(making, appending)

    assert await bench.due() == [("remind", AT + 5 * HOUR)]


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


def test_a_kind_that_has_timers_says_what_its_streams_begin_with() -> None:
    with pytest.raises(TypeError, match="begin with"):
        Decider(
            name="diary", initial=None, decide=LEDGER.decide, evolve=LEDGER.evolve,
            partition_key=LEDGER.partition_key, timers=lambda _: (),
        )  # fmt: skip
