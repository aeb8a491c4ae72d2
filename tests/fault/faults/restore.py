"""PostgreSQL put back by an operator: the services' logs are shorter than Kafka knows them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx
from crm_stack import restoring

from tests.fault.fault import Fault
from tests.fault.level import level
from tests.fault.making import SERVICES

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.fault.process import Process
    from tests.fault.world import World

MORE: Final = 400
"""Messages that come after the backup, and are not in it."""
AFTERWARDS: Final = 200
SEEN_SECONDS: Final = 30.0
PUBLISH: Final = ("contacts", "analytics")
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
    server = world.postgres.server
    backup = await asyncio.to_thread(restoring.base_backup, server, name)

    async def put_back() -> None:
        await asyncio.to_thread(restoring.put_back, server, backup)

    await _restored(world, put_back)


async def dump_and_load(world: World, _: random.Random) -> None:
    """A dump of all databases is loaded into a new cluster at the old address."""
    server, stack = world.postgres.server, world.stack
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
    server = world.postgres.server
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
        before = {service: await _count(world, service, OWN) for service in PUBLISH}
        await put_back()
        world.timeline.note("postgresql put back")
        shorter = {service: await _count(world, service, OWN) for service in PUBLISH}
        for service in PUBLISH:
            assert shorter[service] < before[service], f"the backup lacks nothing of {service}"
    await _collector_refuses(world)
    await _recovered(world, "contacts", before)
    await _analytics_refuses(world, shorter["analytics"])
    await _recovered(world, "analytics", before)
    await world.acknowledged(AFTERWARDS)


async def _recovered(world: World, service: str, before: dict[str, int]) -> None:
    told = await world.command(service, "recover")
    assert "the log is open" in told, told
    there = await _count(world, service, OWN)
    assert there >= before[service], f"{there} of {before[service]} rows of {service} came back"


@asynccontextmanager
async def _quiet(world: World) -> AsyncGenerator[None]:
    """Nobody writes while the body runs, and all that was written is in Kafka."""

    async def sent() -> bool:
        return not sum([await _count(world, service, UNSENT) for service in PUBLISH])

    await world.collector.freeze()
    try:
        assert await level(world), "what was written did not come through in time"
        await world.until(sent, within_seconds=SEEN_SECONDS, what="sending all that was written")
        yield
    finally:
        world.collector.thaw()


async def _collector_refuses(world: World) -> None:
    """contacts takes nothing until it was recovered, and says so."""
    await _waits(world, world.collector)
    taken, refused = world.load.count, world.load.answers[503]

    async def told() -> bool:
        return world.load.answers[503] > refused

    await world.until(told, within_seconds=SEEN_SECONDS, what="telling a sender to come back")
    assert world.load.count == taken, "something was acknowledged before it was recovered"


async def _analytics_refuses(world: World, rows: int) -> None:
    """analytics publishes no score until it was recovered, while customers move theirs."""
    for member in world.members:
        await _waits(world, member)
    await world.acknowledged(AFTERWARDS)
    there = await _count(world, "analytics", OWN)
    assert there == rows, f"{there - rows} scores were appended before it was recovered"


async def _waits(world: World, process: Process) -> None:
    """Wait until a process says that its log waits to be recovered."""

    async def waits() -> bool:
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.get(f"{process.service.url}/readyz")
        return answer.status_code == httpx.codes.OK and answer.json()["log"] == "waits-for-recover"

    what = f"seeing by {process.name} that it was restored"
    await world.until(waits, within_seconds=SEEN_SECONDS, what=what)


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
