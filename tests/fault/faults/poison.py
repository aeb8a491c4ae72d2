"""Events that no fold takes, and releases that take none: what waits, and that others do not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from crm_chassis.ids import new_id
from crm_chassis.partitioning import partition_of

from tests.fault.fault import Fault
from tests.fault.process import Process
from tests.fault.purchases import PARTITIONS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.fault.world import World

AFTERWARDS: Final = 100
SOON_SECONDS: Final = 60.0
LONGEST_DELAY_SECONDS: Final = 2.0
IN_A_ROW: Final = 21
MANY: Final = 10_000
BAD_RELEASE: Final = Path(__file__).parents[1] / "bad_release"

# As a publisher with a bug would append them; the customers are nobody's whom the load knows.
APPEND: Final = """
insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                 partition_key, occurred_at, topic, partition, data)
select (select max(epoch) from log_epoch), now(), u.id, 1, u.id, 'contacts.purchase.completed', 1,
       u.customer, now(), 'contacts.purchases', u.partition, u.data::json
from unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[]) with ordinality
    as u(id, customer, partition, data, n) order by u.n
"""
MEND: Final = """
update log l set data = u.data::json from unnest($1::uuid[], $2::text[]) as u(id, data)
where l.event_id = u.id
"""
PARKED: Final = "select count(*) from parked_event where projection = $1"
WAITING: Final = "select distinct projection from parked_key"
STOPPED: Final = "select name from projection_checkpoint where stopped is not null"
FOLDED: Final = """
select c.recorded_at > (select max(recorded_at) from log where event_id = $2)
from projection_checkpoint c where c.name = $1
"""
BOUGHT: Final = "select orders, spent from buying where customer_id = $1"


async def one_key(world: World, _: random.Random) -> None:
    """What comes behind it waits, in two services; all others are folded as ever."""
    customer = new_id()
    loop = asyncio.get_running_loop()
    ids = await _append(world, [customer] * 3, bad=1)
    began = loop.time()
    for service, projection in (("contacts", "timeline"), ("analytics", "buying")):
        await _passed(world, service, projection, ids[0])
    delay = loop.time() - began
    assert delay < LONGEST_DELAY_SECONDS, f"others waited for {delay:.1f} s"
    await _parked(world, "contacts", "timeline", 1)  # there each event has a key of its own
    await _parked(world, "analytics", "buying", 3)
    await world.acknowledged(AFTERWARDS)
    await _mend(world, customer, ids)
    await _retry_all(world)
    assert await _bought(world, customer) == (3, 3)


async def many_behind_one(world: World, _: random.Random) -> None:
    """10,000 wait for one customer; retried in vain, then in order."""
    customer = new_id()
    ids = await _append(world, [customer] * MANY, bad=1)
    await _parked(world, "analytics", "buying", MANY)
    await _parked(world, "contacts", "timeline", 1)
    told = await world.command("analytics", "parked", "retry", "buying", "--all")
    assert "0 events were folded, then" in told, told
    await _mend(world, customer, ids)
    await _retry_all(world)
    assert await _bought(world, customer) == (MANY, MANY)
    await world.acknowledged(AFTERWARDS)


async def many_in_a_row(world: World, _: random.Random) -> None:
    """That is the release and not the data: the model stops, and no other does."""
    customers = [new_id() for _ in range(IN_A_ROW)]
    ids = await _append(world, customers, bad=IN_A_ROW)
    await _stopped(world, "timeline")
    await world.acknowledged(AFTERWARDS)
    async with world.database("contacts") as contacts:
        others = {row["name"] for row in await contacts.fetch(STOPPED)} - {"timeline"}
    assert not others, f"{others} stopped as well"
    for customer, event_id in zip(customers, ids, strict=True):
        await _mend(world, customer, [event_id])
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


async def _append(world: World, customers: Sequence[UUID], *, bad: int) -> list[UUID]:
    """Purchases one behind the other, the first `bad` of which nobody can read."""
    ids = [new_id() for _ in customers]
    rows = list(zip(ids, customers, strict=True))
    data = [_data(id_, who, good=n >= bad) for n, (id_, who) in enumerate(rows)]
    partitions = [partition_of(customer, PARTITIONS) for customer in customers]
    async with world.database("contacts") as contacts:
        await contacts.execute(APPEND, ids, list(customers), partitions, data)
    return ids


def _data(event_id: UUID, customer: UUID, *, good: bool) -> str:
    told = {
        "customer_id": str(customer),
        "message_id": f"poison {event_id}",
        "source": "fault",
        "order_id": str(event_id),
        "total": {"amount": "1.00", "currency": "EUR"} if good else "no money",
        "products": [],
    }
    return json.dumps(told)


async def _mend(world: World, customer: UUID, ids: Sequence[UUID]) -> None:
    """The next release reads them: here, they become what this one reads."""
    data = [_data(event_id, customer, good=True) for event_id in ids]
    for service in ("contacts", "analytics"):
        async with world.database(service) as connection:
            await connection.execute(MEND, list(ids), data)


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
