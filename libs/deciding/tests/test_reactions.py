"""A reaction meets each event once: what follows from it is appended with its checkpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest
from crm_deciding.decider import Directive, opened_by
from crm_deciding.reaction import Reaction
from crm_projections import parked, patience
from crm_projections.parking import customer_text
from crm_store.errors import sqlstate
from crm_store.ids import new_id
from crm_store.log.append import Log
from crm_store.log.entries import Fact, NewEvent, StreamAppend
from ledger import LEDGER, SHARED, Note, notes, noting, reacting
from probe import AT, STAYS_OPEN, Counted, Noted
from summing import catch_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from crm_projections.projector import Projector
    from crm_store.log.logged import LoggedEvent
    from probe import Probe

COUNTING = UUID("9a54d3b2-0c5e-4a3c-8a35-6d4b1f0f7c21")
HEARD = """
insert into log (epoch, occurred_at, recorded_at, heard_at, sequence, version, schema_version,
                 partition, stream_id, event_id, partition_key, type, topic, data)
values (1, now(), now(), now(), $1, 1, 1, 0, $2, $2, $2, 'probe.thing.counted', 'probe.things',
        json_build_object('number', $1::bigint))
"""
MARK = """
insert into inbox_mark (topic, partition, sequence, kafka_offset, history_until, news_after)
values ('probe.things', 0, 9, 9, 0, $1)
"""
STANDS = "select epoch, xid::text, gp from projection_checkpoint where name = 'noting'"
GO_BACK = """
update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3 where name = 'noting'
"""
REFUSED = "select by, event_id, refusal, detail from refused_command order by id"


async def refused(probe: Probe) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await probe.pool.fetch(REFUSED)]


async def test_what_follows_from_an_event_is_appended_once(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    await probe.count(new_id(), 1, 2)

    await catch_up(runner)
    await catch_up(reacting(probe, noting()))

    assert await notes(probe) == ["1", "2"]


async def test_it_acts_on_news_what_was_there_before_its_first_start_is_none(probe: Probe) -> None:
    await probe.count(new_id(), 1)

    await catch_up(reacting(probe, noting()))
    await probe.count(new_id(), 2)
    await catch_up(reacting(probe, noting()))

    assert await notes(probe) == ["2"]


async def test_a_later_version_goes_on_where_the_one_before_it_stood(probe: Probe) -> None:
    await catch_up(reacting(probe, noting()))
    await probe.count(new_id(), 1)

    await catch_up(reacting(probe, noting(version=2)))

    assert await notes(probe) == ["1"]


async def test_history_of_a_topic_starts_nothing_and_what_came_later_does(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    await probe.pool.execute(MARK, 2)
    for number in (1, 2, 3):
        await probe.pool.execute(HEARD, number, new_id())

    await catch_up(runner)

    assert await notes(probe) == ["3"]


async def test_while_all_of_a_topic_is_history_nothing_is_done(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    await probe.pool.execute(MARK, None)
    await probe.pool.execute(HEARD, 1, new_id())

    await catch_up(runner)

    assert await notes(probe) == []


async def test_a_stream_that_it_opens_has_an_id_that_follows_from_the_event(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    fact = probe.fact(new_id(), 1)
    await probe.log.append(facts=[fact])

    await catch_up(runner)

    row = await probe.pool.fetchrow(
        "select stream_id, version, meta::json ->> 'causationid' as cause,"
        " meta::json ->> 'depth' as depth from log where type = 'probe.thing.noted'"
    )
    opened = UUID(int=0) if row is None else row["stream_id"]
    assert opened.version == 5
    assert (row["version"], row["cause"], row["depth"]) == (1, str(fact.event.event_id), "1")


def counting() -> Reaction:
    """Notes of each note in the shared ledger how many there were before it."""
    reaction = Reaction("counting", COUNTING)

    @reaction.on_stream(Noted)
    def count(
        entry: LoggedEvent[Any], before: Sequence[LoggedEvent[Any]]
    ) -> Iterable[Directive[Any, Any]]:
        if entry.stream_id != SHARED:
            return []
        told = f"{entry.event.note} behind {len(before)}"
        return [Directive(LEDGER, opened_by(COUNTING, entry), Note(told))]

    return reaction


async def test_it_may_be_told_of_an_event_with_what_its_stream_was_before(probe: Probe) -> None:
    runner = reacting(probe, counting())
    await catch_up(runner)
    told = [NewEvent(Noted(note=note), new_id(), AT, SHARED) for note in "abc"]
    await probe.log.append(streams=[StreamAppend(SHARED, 0, tuple(told))])

    await catch_up(runner)

    assert await notes(probe) == ["a", "b", "c", "a behind 0", "b behind 1", "c behind 2"]


def test_of_an_event_it_is_told_in_one_way() -> None:
    reaction = counting()

    with pytest.raises(TypeError, match="twice"):
        reaction.on(Noted)(lambda _: [])
    with pytest.raises(TypeError, match="twice"):
        reaction.on_stream(Noted)(lambda *_: [])


async def test_an_owner_that_was_overtaken_appends_nothing(probe: Probe) -> None:
    zombie, owner = reacting(probe, noting()), reacting(probe, noting())
    await catch_up(zombie)
    await probe.count(new_id(), 1)
    await catch_up(owner)

    with pytest.raises(asyncpg.PostgresError) as lost:
        await zombie.turn()

    assert sqlstate(lost.value) == "KM001"
    assert await notes(probe) == ["1"]


async def test_what_came_back_with_the_event_it_follows_from_is_not_done_again(
    probe: Probe,
) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    backup = await probe.pool.fetchrow(STANDS)
    await probe.count(new_id(), 1, 7, 2)
    await catch_up(runner)
    await probe.pool.execute("delete from log where data ->> 'note' = '2'")  # it was not sent
    await probe.pool.execute(
        "delete from stream where stream_id not in (select stream_id from log)"
    )
    await probe.pool.execute(GO_BACK, *backup)

    await catch_up(reacting(probe, noting()))

    assert await notes(probe) == ["1", "7", "2"]


async def test_a_refusal_is_an_outcome_and_is_kept(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    fact = probe.fact(new_id(), 13)
    await probe.log.append(facts=[fact])
    await probe.count(new_id(), 14)

    await catch_up(runner)

    assert await notes(probe) == ["14"]
    [told] = await refused(probe)
    assert told == (
        "noting", fact.event.event_id, "not-wanted", "Thirteen is not written down."
    )  # fmt: skip
    assert await parked.list_parked(probe.pool) == []


async def test_what_cannot_be_decided_parks_its_customer_and_is_done_in_order_later(
    probe: Probe,
) -> None:
    runner, ann, bob = reacting(probe, noting()), new_id(), new_id()
    await catch_up(runner)
    await probe.count(ann, 1, 99, 2)
    await probe.count(bob, 3)

    await catch_up(runner)

    assert await notes(probe) == ["1", "3"]
    [one] = await parked.list_parked(probe.pool)
    assert (one.projection, one.key, one.events) == ("noting", customer_text(ann), 2)

    outcomes = await asked_to_retry(probe, reacting(probe, noting(breaks_at=None)))

    assert outcomes == ["2 events were folded"]
    assert await notes(probe) == ["1", "3", "99", "2"]


async def asked_to_retry(probe: Probe, runner: Projector) -> list[str]:
    """What came of it, while this owner runs."""
    stop = asyncio.Event()
    running = asyncio.create_task(runner.run(stop, beat=lambda: None))
    answers, left = await parked.ask(probe.pool, "retry", "noting", None, by="ada", within_s=60)
    stop.set()
    await running
    assert not left
    return [outcome for _, outcome in answers]


async def test_reactions_to_reactions_end_at_sixteen(probe: Probe) -> None:
    runner, ann, bob = reacting(probe, noting()), new_id(), new_id()
    await catch_up(runner)
    for customer, depth in ((ann, "15"), (bob, "14")):
        deep = NewEvent(Counted(number=int(depth)), new_id(), AT, customer, {"depth": depth})
        await probe.log.append(facts=[Fact(new_id(), deep)])

    await catch_up(runner)

    assert await notes(probe) == ["14"]
    [one] = await parked.list_parked(probe.pool)
    assert (one.key, one.reason.partition(":")[0]) == (customer_text(ann), "TooDeepError")


class Overtaken(Log):
    """Whenever the shared ledger is read here, somebody else writes to it first, so many times."""

    left = 0

    async def load_each(
        self, stream_ids: Iterable[UUID], *, opens: bool
    ) -> Mapping[UUID, Sequence[LoggedEvent[Any]]]:
        found = await super().load_each(stream_ids, opens=opens)
        if SHARED in found and self.left:
            self.left -= 1
            mine = NewEvent(Noted(note="mine"), new_id(), AT, SHARED)
            await super().append(streams=[StreamAppend(SHARED, len(found[SHARED]), (mine,))])
        return found


async def test_who_was_faster_makes_it_decide_anew_and_the_others_are_not_lost(
    probe: Probe,
) -> None:
    log = Overtaken(
        pool=probe.pool, contract=probe.contract, keyring=probe.keyring,
        clock=lambda: AT, wakeups=probe.wakeups,
    )  # fmt: skip
    runner = reacting(probe, noting(), log=log)
    await catch_up(runner)
    await probe.count(new_id(), 1, 7, 2)
    log.left = 3

    await catch_up(runner)

    assert sorted(await notes(probe)) == ["1", "2", "7", "mine", "mine", "mine"]


async def test_a_long_page_is_appended_in_parts(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    await probe.count(new_id(), *range(100, 350))

    await catch_up(runner)

    assert await notes(probe) == [str(number) for number in range(100, 350)]
    rows = await probe.pool.fetch(
        "select count(*) as n from log where type = 'probe.thing.noted' group by xid"
    )
    assert max(row["n"] for row in rows) <= 100


async def test_the_locks_of_streams_come_before_the_transaction_id(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    await probe.count(new_id(), 7)
    async with probe.pool.acquire() as holder, holder.transaction():
        await holder.execute(STAYS_OPEN)
        await holder.execute(
            "select pg_advisory_xact_lock(hashtextextended($1::text, 0))", str(SHARED)
        )

        turning = asyncio.create_task(catch_up(runner))
        async with asyncio.timeout(60):
            while not (waiting := await waits_for_a_lock(probe)):
                await asyncio.sleep(0.01)

        assert waiting == [None]  # no transaction id, so no tail is held back
    await turning
    assert await notes(probe) == ["7"]


async def waits_for_a_lock(probe: Probe) -> list[str | None]:
    """The transaction ids of the sessions that wait for a stream's lock."""
    rows = await probe.pool.fetch(
        "select a.backend_xid::text as xid from pg_locks l join pg_stat_activity a using (pid) "
        "where l.locktype = 'advisory' and not l.granted and a.datname = current_database()"
    )
    return [row["xid"] for row in rows]


async def test_for_somebody_who_is_erased_nothing_is_decided(probe: Probe) -> None:
    runner = reacting(probe, noting())
    await catch_up(runner)
    await probe.pool.execute(
        "insert into subject_key (key_id, destroyed) values ($1, now())", str(SHARED)
    )
    await probe.count(new_id(), 5, 6)

    await catch_up(runner)

    assert await notes(probe) == ["6"]
    assert [told[2] for told in await refused(probe)] == ["subject-erased"]
    assert await parked.list_parked(probe.pool) == []


async def test_a_key_that_does_not_come_parks_the_customer_until_it_does(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "KEY_WAIT_S", 0.2)
    runner, ann, bob = reacting(probe, noting()), new_id(), new_id()
    await catch_up(runner)
    await probe.count(ann, 5, 6)
    await probe.count(bob, 8)
    stop = asyncio.Event()
    running = asyncio.create_task(runner.run(stop, beat=lambda: None))

    async with asyncio.timeout(60):
        while await notes(probe) != ["8"]:
            await asyncio.sleep(0.02)
    [one] = await parked.list_parked(probe.pool)
    await probe.mint(SHARED)
    async with asyncio.timeout(60):
        while await notes(probe) != ["8", "6"]:
            await asyncio.sleep(0.02)
    stop.set()
    await running

    assert (one.key, one.events) == (customer_text(ann), 2)
    assert await parked.list_parked(probe.pool) == []
    assert await probe.pool.fetchval("select count(*) from log where type = 'probe.thing.named'")
    assert await probe.pool.fetchval("select count(*) from deed") == 0
