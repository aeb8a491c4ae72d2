"""PostgreSQL put back by an operator: both services' logs are shorter than Kafka knows them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx
from crm_stack import restoring

from tests.fault.fault import Fault
from tests.fault.level import level

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.fault.world import World

MORE: Final = 400
"""Messages that come after the backup, and are not in it."""
AFTERWARDS: Final = 200
SEEN_SECONDS: Final = 30.0
SERVICES: Final = ("contacts", "analytics")
UNSENT: Final = """
select (select count(*) from log l, relay_position p
        where p.name = 'main' and l.sequence is null and l.topic is not null
          and (l.epoch, l.xid, l.gp) > (p.epoch, p.xid, p.gp))
     + (select count(*) from subject_key where unsent)
     + (select count(*) from pg_stat_activity a
        where a.datname = current_database() and a.backend_xid is not null)
"""
OWN: Final = "select count(*) from log where sequence is null"


async def earlier_point(world: World, rng: random.Random) -> None:
    """A base backup is started in the place of the server it was taken of."""
    name = f"restored-{rng.getrandbits(32):x}"
    backup = await asyncio.to_thread(restoring.base_backup, world.postgres, name)

    async def put_back() -> None:
        await asyncio.to_thread(restoring.put_back, world.postgres, backup)

    await _restored(world, put_back)


async def dump_and_load(world: World, _: random.Random) -> None:
    """A dump of both databases is loaded into a new cluster at the old address."""
    server, stack = world.postgres, world.stack
    urls = [stack.service_database(service) for service in SERVICES]
    dumps = [await asyncio.to_thread(restoring.dump, server, url) for url in urls]

    async def put_back() -> None:
        await asyncio.to_thread(restoring.renew, server)
        for service, dump in zip(SERVICES, dumps, strict=True):
            url = await asyncio.to_thread(stack.service_database, service)
            await asyncio.to_thread(restoring.load, server, url, dump)
        await world.supervise()  # without their tables they end

    await _restored(world, put_back)


async def stale_standby(world: World, _: random.Random) -> None:
    """A standby that was cut off is promoted in the place of its primary."""
    server = world.postgres
    standby = world.stack.another_postgres("standby")
    await asyncio.to_thread(restoring.follow, standby, server)
    await asyncio.to_thread(restoring.wait_level, standby, server)
    await asyncio.to_thread(standby.stop)

    async def put_back() -> None:
        await asyncio.to_thread(restoring.put_back, server, standby.data)
        await asyncio.to_thread(restoring.promote, server)

    await _restored(world, put_back)


async def _restored(world: World, put_back: Callable[[], Awaitable[None]]) -> None:
    """More comes in, all of it reaches Kafka; then what was kept takes the server's place.

    What is acknowledged and in Kafka must come back. So that nothing may be lost, nobody
    acknowledges anything between the last look at what is owed and the restore.
    """
    await world.acknowledged(MORE)
    async with _quiet(world):
        before = [await _count(world, service, OWN) for service in SERVICES]
        await put_back()
        shorter = [await _count(world, service, OWN) for service in SERVICES]
        assert shorter[0] < before[0], "the backup lacks nothing"
    await _refused(world)
    for service in SERVICES:
        told = await world.command(service, "recover")
        assert "the log is open" in told, told
    recovered = [await _count(world, service, OWN) for service in SERVICES]
    assert recovered[0] >= before[0], f"{recovered[0]} of {before[0]} rows came back"
    assert recovered[1] >= before[1], f"{recovered[1]} of {before[1]} rows came back"
    await world.acknowledged(AFTERWARDS)


@asynccontextmanager
async def _quiet(world: World) -> AsyncGenerator[None]:
    """Nobody writes while the body runs, and all that was written is in Kafka."""

    async def sent() -> bool:
        return not sum([await _count(world, service, UNSENT) for service in SERVICES])

    await world.collector.freeze()
    try:
        assert await level(world), "what was written did not come through in time"
        await world.until(sent, within_seconds=SEEN_SECONDS, what="sending all that was written")
        yield
    finally:
        world.collector.thaw()


async def _refused(world: World) -> None:
    """contacts takes nothing until it was recovered, and says so."""

    async def waits() -> bool:
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.get(f"{world.load.collector}/readyz")
        return answer.status_code == httpx.codes.OK and answer.json()["log"] == "waits-for-recover"

    await world.until(waits, within_seconds=SEEN_SECONDS, what="seeing that it was restored")
    taken, refused = world.load.count, world.load.answers[503]

    async def told() -> bool:
        return world.load.answers[503] > refused

    await world.until(told, within_seconds=SEEN_SECONDS, what="telling a sender to come back")
    assert world.load.count == taken, "something was acknowledged before it was recovered"


async def _count(world: World, service: str, sql: str) -> int:
    async with world.database(service) as connection:
        return await connection.fetchval(sql)


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "restore.earlier-point",
        "both databases are put back to an earlier base backup, and recovered from Kafka",
        earlier_point,
        weight=1,
        spoils=True,
    ),
    Fault(
        "restore.dump-and-load",
        "both databases are loaded from a dump into a new cluster, and recovered from Kafka",
        dump_and_load,
        weight=1,
        spoils=True,
    ),
    Fault(
        "restore.stale-standby",
        "a standby that was cut off is promoted, and both databases are recovered from Kafka",
        stale_standby,
        weight=1,
        spoils=True,
    ),
)
