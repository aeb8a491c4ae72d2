"""Events that no fold takes, and releases that take none: what waits, and that others do not."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crm_store.ids import new_id

from tests.fault.appended import append, mend
from tests.fault.fault import Fault
from tests.fault.process import Process

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from tests.fault.world import World

AFTERWARDS: Final = 100
SOON_SECONDS: Final = 60.0
LONGEST_DELAY_SECONDS: Final = 2.0
IN_A_ROW: Final = 21
MANY: Final = 10_000
AT_ONCE: Final = 1_000
"""As fast as they are parked: how long a burst takes to fold is another question."""
LOOK_SECONDS: Final = 0.05
BAD_RELEASE: Final = Path(__file__).parents[1] / "bad_release"

PARKED: Final = "select count(*) from parked_event where projection = $1"
WAITING: Final = "select distinct projection from parked_key"
STOPPED: Final = "select name from projection_checkpoint where stopped is not null"
FOLDED: Final = """
select c.recorded_at > (select max(recorded_at) from log where event_id = $2)
from projection_checkpoint c where c.name = $1
"""
# Of each read model: seconds since the first of them came here that it has not folded.
OTHERS_WAIT: Final = """
select c.name, extract(epoch from clock_timestamp() - l.came_at)::float8
from projection_checkpoint c, lateral (
    select coalesce(l.heard_at, l.recorded_at) as came_at from log l
    where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp) and l.partition_key <> $1
    order by l.epoch, l.xid, l.gp limit 1) l
"""
BOUGHT: Final = "select orders, spent from buying where customer_id = $1"


async def one_key(world: World, _: random.Random) -> None:
    """What comes behind it waits, in two services; all others are folded as ever."""
    customer = new_id()
    loop = asyncio.get_running_loop()
    ids = await append(world, [customer] * 3, bad=1)
    began = loop.time()
    for service, projection in (("contacts", "timeline"), ("analytics", "buying")):
        await _passed(world, service, projection, ids[0])
    delay = loop.time() - began
    assert delay < LONGEST_DELAY_SECONDS, f"others waited for {delay:.1f} s"
    await _parked(world, "contacts", "timeline", 1)  # there each event has a key of its own
    await _parked(world, "analytics", "buying", 3)
    await world.acknowledged(AFTERWARDS)
    await mend(world, [customer], ids[:1])
    await _retry_all(world)
    assert await _bought(world, customer) == (3, 3)


async def many_behind_one(world: World, _: random.Random) -> None:
    """10,000 wait for one customer; retried in vain, then in order. Others are not held up."""
    customer = new_id()
    async with _others_not_held_up(world, customer):
        ids: list[UUID] = []
        while len(ids) < MANY:
            ids += await append(world, [customer] * AT_ONCE, bad=0 if ids else 1)
            await _parked(world, "analytics", "buying", len(ids))
        await _parked(world, "contacts", "timeline", 1)
        told = await world.command("analytics", "parked", "retry", "buying", "--all")
        assert "0 events were folded, then" in told, told
        await mend(world, [customer], ids[:1])
        await _retry_all(world)
        assert await _bought(world, customer) == (MANY, MANY)
        await world.acknowledged(AFTERWARDS)


async def many_in_a_row(world: World, _: random.Random) -> None:
    """That is the release and not the data: the model stops, and no other does."""
    customers = [new_id() for _ in range(IN_A_ROW)]
    ids = await append(world, customers, bad=IN_A_ROW)
    await _stopped(world, "timeline")
    await world.acknowledged(AFTERWARDS)
    async with world.database("contacts") as contacts:
        others = {row["name"] for row in await contacts.fetch(STOPPED)} - {"timeline"}
    assert not others, f"{others} stopped as well"
    await mend(world, customers, ids)
    for process in (world.relay, *world.members):  # a start tries again
        await process.kill()
        await process.start()
    await _retry_all(world)


async def bad_release(world: World, _: random.Random) -> None:
    """A release in which every fold raises parks next to nothing before it stops."""
    service = world.relay.service
    path = {"PYTHONPATH": str(BAD_RELEASE)}
    bad = Process(
        "bad release",
        replace(service, environment={**service.environment, **path}),
        world.relay.postgres,
        world.timeline.note,
    )
    world.relay.terminate()
    await world.relay.ended()
    try:
        await bad.start()
        await _stopped(world, "timeline")
        async with world.database("contacts") as contacts:
            parked = await contacts.fetchval(PARKED, "timeline")
        assert parked == 0, f"{parked} events were parked for a bad release"
    finally:
        bad.terminate()
        await bad.ended()
    await world.relay.start()
    await world.acknowledged(AFTERWARDS)
    await _retry_all(world)


@asynccontextmanager
async def _others_not_held_up(world: World, customer: UUID) -> AsyncGenerator[None]:
    """While the body runs, an event of anybody else lies unfolded hardly longer than before."""
    waits: dict[str, float] = {}
    watching = [
        asyncio.create_task(_note_waits(world, service, customer, waits))
        for service in ("contacts", "analytics")
    ]
    try:
        await world.acknowledged(3 * AFTERWARDS)
        usual = max(waits.values(), default=0.0)
        waits.clear()
        yield
    finally:
        for one in watching:
            one.cancel()
        await asyncio.wait(watching)
    longest = max(waits.values(), default=0.0)
    world.timeline.note(f"others waited for {longest:.2f} s at most, {usual:.2f} s before")
    assert all(one.cancelled() for one in watching), "nobody watched"
    delay = longest - usual
    assert delay < LONGEST_DELAY_SECONDS, f"others were held up for {delay:.1f} s"


async def _note_waits(
    world: World, service: str, customer: UUID, longest: dict[str, float]
) -> None:
    """For how long an event of anybody else lay unfolded at most, by read model."""
    async with world.database(service) as connection:
        while True:
            for name, waits in await connection.fetch(OTHERS_WAIT, customer):
                longest[name] = max(longest.get(name, 0.0), waits)
            await asyncio.sleep(LOOK_SECONDS)


async def _passed(world: World, service: str, projection: str, event_id: UUID) -> None:
    """Wait until a read model has folded what was recorded after an event."""
    async with world.database(service) as connection:

        async def passed() -> bool:
            return bool(await connection.fetchval(FOLDED, projection, event_id))

        await world.until(passed, within_seconds=SOON_SECONDS, what=f"{projection} behind it")


async def _parked(world: World, service: str, projection: str, events: int) -> None:
    async with world.database(service) as connection:

        async def waits() -> bool:
            return bool(await connection.fetchval(PARKED, projection) == events)

        await world.until(waits, within_seconds=SOON_SECONDS, what=f"{events} parked events")


async def _stopped(world: World, projection: str) -> None:
    """Wait until this one of contacts' read models stands."""
    async with world.database("contacts") as contacts:

        async def stands() -> bool:
            return projection in {row["name"] for row in await contacts.fetch(STOPPED)}

        await world.until(stands, within_seconds=SOON_SECONDS, what=f"the stop of {projection}")


async def _retry_all(world: World) -> None:
    """As an operator does once a release can fold what waits: nothing waits any more."""
    for service in ("contacts", "analytics"):
        async with world.database(service) as connection:
            for row in await connection.fetch(WAITING):
                await world.command(service, "parked", "retry", row["projection"], "--all")
            left = [row["projection"] for row in await connection.fetch(WAITING)]
        assert not left, f"keys of {left} are still parked"


async def _bought(world: World, customer: UUID) -> tuple[int, int]:
    """Orders, and money spent."""
    async with world.database("analytics") as analytics:
        row = await analytics.fetchrow(BOUGHT, customer)
    return (row["orders"], int(row["spent"])) if row else (0, 0)


FAULTS: Final = (
    Fault("poison.one-key", "An event that no fold takes: its key waits, no other does.", one_key,
          weight=2),
    Fault("poison.many-behind-one", "10,000 events wait for one customer, retried twice.",
          many_behind_one, weight=1),
    Fault("poison.many-in-a-row", "21 events in a row that no fold takes: the model stops.",
          many_in_a_row, weight=1),
    Fault("poison.bad-release", "A release in which every fold raises.", bad_release, weight=1),
)  # fmt: skip
