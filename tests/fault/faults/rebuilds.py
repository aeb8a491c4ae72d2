"""Read models built anew while events come, and who dies over it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.fault.fault import Fault

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator

    import asyncpg

    from tests.fault.world import World

MODEL: Final = "timeline"
AFTERWARDS: Final = 100
SOON_SECONDS: Final = 60.0
LOOK_EVERY_SECONDS: Final = 0.005
LONGEST_LIFE_SECONDS: Final = 1.0

BEGUN: Final = f"select to_regclass('{MODEL}_next.projection_checkpoint') is not null"
HELD: Final = f"""
select exists (
    select from projection_checkpoint where name = '{MODEL}' and held_until > clock_timestamp())
"""  # noqa: S608  # constants only
SWITCHED: Final = f"select count(*) from deed where what = 'rebuilt' and about = '{MODEL}'"  # noqa: S608  # as above


async def kill_the_rebuild(world: World, rng: random.Random) -> None:
    """The live model is as it was, and the next rebuild begins anew and finds it right."""
    async with world.database("contacts") as contacts:
        switches = await contacts.fetchval(SWITCHED)
        async with _rebuilding(world) as rebuild:
            await _seen(contacts, BEGUN)
            await asyncio.sleep(rng.uniform(0, LONGEST_LIFE_SECONDS))
            assert rebuild.returncode is None, "the rebuild was over before it was killed"
            rebuild.kill()
            await rebuild.wait()
        assert await contacts.fetchval(SWITCHED) == switches, "it had switched before it died"
        await world.acknowledged(AFTERWARDS)
        told = await world.command("contacts", "rebuild", MODEL)
        assert ", 0 differ" in told, told
        await world.acknowledged(AFTERWARDS)


async def kill_the_worker_at_the_switch(world: World, _: random.Random) -> None:
    """The rebuild needs nobody for its switch, and the next worker folds into what is live then."""
    async with world.database("contacts") as contacts:
        switches = await contacts.fetchval(SWITCHED)
        async with _rebuilding(world) as rebuild:
            await _seen(contacts, HELD)
            await world.relay.kill()
            said, _ = await asyncio.wait_for(rebuild.communicate(), SOON_SECONDS)
        assert rebuild.returncode == 0, said.decode()
        assert await contacts.fetchval(SWITCHED) == switches + 1
    await world.relay.start()
    await world.acknowledged(AFTERWARDS)


@asynccontextmanager
async def _rebuilding(world: World) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A rebuild as an operator starts one; it is ended where it is left."""
    rebuild = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "contacts", "rebuild", MODEL,
        env={**os.environ, **world.collector.service.environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield rebuild
    finally:
        if rebuild.returncode is None:
            rebuild.kill()
            await rebuild.wait()


async def _seen(contacts: asyncpg.Connection, what: str) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while not await contacts.fetchval(what):
            await asyncio.sleep(LOOK_EVERY_SECONDS)


FAULTS: Final = (
    Fault("rebuild.kill", "kill -9 of a rebuild while events come.", kill_the_rebuild, weight=1),
    Fault("rebuild.kill-worker", "kill -9 of the worker while a rebuild is about to switch.",
          kill_the_worker_at_the_switch, weight=1),
)  # fmt: skip
