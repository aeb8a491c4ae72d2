"""What an error leads to: an outage is waited for, a value that cannot be taken parks alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiokafka.errors as kafka
import pytest
from crm_projections import parked
from crm_projections.parking import key_text
from crm_store.ids import new_id
from probe import Counted
from summing import SUMS, Projection, Sum, at_work, level, projector, sums_model

if TYPE_CHECKING:
    import asyncpg
    from crm_projections.projector import Projector
    from probe import Probe

pytestmark = pytest.mark.usefixtures("tables")

TIMES = 3
# A sequence goes on though what asked for its number is undone.
RAISES = """
create sequence tried;
create function refuse() returns trigger language plpgsql as $$
begin
    if new.customer_id = '{customer}' and nextval('tried') <= {times} then
        raise exception 'a test' using errcode = '{state}';
    end if;
    return new;
end $$;
create trigger refuse before insert on sums for each row execute function refuse();
"""


class LosesAnswers:
    """A pool whose server does what it is told; the first answers to writes are lost."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        answer = await self._pool.fetchval(sql, *arguments)
        if "insert into sums" in sql and self.lost < TIMES:
            self.lost += 1
            raise ConnectionResetError("the answer was lost")
        return answer


async def run_to_the_end(probe: Probe, runner: Projector) -> None:
    async with at_work(runner):
        await level(probe, "sums")


async def folded(probe: Probe) -> dict[UUID, str]:
    rows = await probe.pool.fetch("select customer_id, numbers::text as numbers from sums")
    return {row["customer_id"]: row["numbers"] for row in rows}


@pytest.mark.parametrize(
    "state",
    ["08006", "53100", "53300", "55P03", "57014", "57P01", "25006", "40001", "40P01"],
)
async def test_an_outage_of_postgresql_is_waited_for(probe: Probe, state: str) -> None:
    ann, bob = new_id(), new_id()
    await probe.pool.execute(RAISES.format(customer=ann, state=state, times=TIMES))
    await probe.count(ann, 1, 2)
    await probe.count(bob, 3)

    await run_to_the_end(probe, projector(probe, sums_model()))

    assert await probe.pool.fetchval("select last_value from tried") > TIMES
    assert await folded(probe) == {ann: "[1, 2]", bob: "[3]"}
    assert await parked.list_parked(probe.pool) == []


@pytest.mark.parametrize(
    "outage",
    [kafka.KafkaConnectionError(), kafka.NotLeaderForPartitionError(), TimeoutError()],
    ids=repr,
)
async def test_an_outage_of_kafka_is_waited_for(probe: Probe, outage: Exception) -> None:
    raised: list[Exception] = []
    model = Projection("sums", 1, SUMS, Sum, key=lambda entry: (entry.partition_key,))

    @model.on(Counted)
    def add(row: Sum | None, entry: Any) -> Sum:
        if len(raised) < TIMES:
            raised.append(outage)
            raise outage
        return Sum(entry.partition_key, 1, [entry.event.number], None)

    ann = new_id()
    await probe.count(ann, 1)

    await run_to_the_end(probe, projector(probe, model))

    assert await folded(probe) == {ann: "[1]"}
    assert await parked.list_parked(probe.pool) == []


@pytest.mark.parametrize("state", ["22003", "22P02", "23505", "23514", "54000"])
async def test_a_value_that_postgresql_refuses_parks_its_key_alone(
    probe: Probe, state: str
) -> None:
    ann, bob = new_id(), new_id()
    await probe.pool.execute(RAISES.format(customer=ann, state=state, times=1_000))
    await probe.count(ann, 1, 2)
    await probe.count(bob, 3)

    await run_to_the_end(probe, projector(probe, sums_model()))

    assert await folded(probe) == {bob: "[3]"}
    [one] = await parked.list_parked(probe.pool)
    assert (one.key, one.events) == (key_text((ann,)), 2)
    assert f"SQLSTATE {state}" in one.reason


async def test_a_fold_that_raises_parks_its_key_alone(probe: Probe) -> None:
    ann, bob = new_id(), new_id()
    await probe.count(ann, 99, 2)
    await probe.count(bob, 3)

    await run_to_the_end(probe, projector(probe, sums_model()))

    assert await folded(probe) == {bob: "[3]"}
    [one] = await parked.list_parked(probe.pool)
    assert (one.key, one.events, one.reason) == (
        key_text((ann,)),
        2,
        "ValueError: 99 cannot be folded",
    )


async def test_after_a_commit_that_nobody_heard_of_the_checkpoint_is_asked_first(
    probe: Probe,
) -> None:
    ann = new_id()
    await probe.count(ann, 1, 2)
    runner = projector(probe, sums_model())
    pool = LosesAnswers(probe.pool)
    runner._pool = pool
    for keyed in runner._keyed.values():
        keyed._pool = pool

    async with at_work(runner):
        await level(probe, "sums")
        await probe.count(ann, 3)
        await level(probe, "sums")

    assert pool.lost == 2
    assert await folded(probe) == {ann: "[1, 2, 3]"}
    assert await parked.list_parked(probe.pool) == []
