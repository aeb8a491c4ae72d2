"""The network between our processes and their servers: slow, standing, cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from tests.fault.fault import Fault
from tests.fault.faults.kill_points import VICTIMS
from tests.fault.proxy.kafka import armed
from tests.fault.proxy.points import Where

if TYPE_CHECKING:
    import random

    from tests.fault.world import World

LEAST_SECONDS, MOST_SECONDS = 0.01, 0.06
SLOW_SECONDS: Final = 6.0
STANDING_SECONDS: Final = 5.0
RESETS: Final = 5
AFTERWARDS: Final = 100


async def postgres_slow(world: World, rng: random.Random) -> None:
    proxy = rng.choice(world.processes).postgres
    before = proxy.hits
    async with proxy.delayed(LEAST_SECONDS, MOST_SECONDS):
        await asyncio.sleep(SLOW_SECONDS)
    assert proxy.hits > before, "no connection was slow"
    await world.acknowledged(AFTERWARDS)


async def postgres_standing(world: World, rng: random.Random) -> None:
    proxy = rng.choice(world.processes).postgres
    before = proxy.hits
    async with proxy.stalled():
        await asyncio.sleep(STANDING_SECONDS)
    assert proxy.hits > before, "no connection stood"
    await world.acknowledged(AFTERWARDS)


async def postgres_reset(world: World, rng: random.Random) -> None:
    proxy = rng.choice(world.processes).postgres
    cut = 0
    for _ in range(RESETS):
        cut += proxy.reset()
        await world.acknowledged(AFTERWARDS)
    assert cut >= RESETS, "fewer connections were cut than resets"


async def kafka_slow(world: World, _: random.Random) -> None:
    before = [proxy.hits for proxy in world.kafka_proxies]
    async with AsyncExitStack() as slow:
        for proxy in world.kafka_proxies:
            await slow.enter_async_context(proxy.delayed(LEAST_SECONDS, MOST_SECONDS))
        await asyncio.sleep(SLOW_SECONDS)
    after = [proxy.hits for proxy in world.kafka_proxies]
    assert all(a > b for a, b in zip(after, before, strict=True)), "a broker was not slow"
    await world.acknowledged(AFTERWARDS)


async def kafka_standing(world: World, rng: random.Random) -> None:
    proxy = rng.choice(world.kafka_proxies)
    before = proxy.hits
    async with proxy.stalled():
        await asyncio.sleep(STANDING_SECONDS)
    assert proxy.hits > before, "no connection stood"
    await world.acknowledged(AFTERWARDS)


async def kafka_reset(world: World, _: random.Random) -> None:
    cut = 0
    for _ in range(RESETS):
        cut += sum(proxy.reset() for proxy in world.kafka_proxies)
        await world.acknowledged(AFTERWARDS)
    assert cut >= RESETS, "fewer connections were cut than resets"


def _cut_commit(who: str) -> Callable[[World, random.Random], Awaitable[None]]:
    """The answer to a commit never comes: the process lives, and does not know."""
    choose, what = VICTIMS[who]

    async def run(world: World, rng: random.Random) -> None:
        for _ in range(RESETS):
            victim = await choose(world, rng)
            with victim.postgres.armed(Where.COMMITTED, what) as point:
                await point.reached()
            await world.acknowledged(AFTERWARDS)

    return run


async def produce_cut(world: World, _: random.Random) -> None:
    for _ in range(RESETS):
        relay = await world.holder("contacts")
        with armed(world.kafka_proxies, Where.COMMITTED, world.connections_of(relay)) as point:
            await point.reached()
        await world.acknowledged(AFTERWARDS)


FAULTS: Final = (
    Fault("network.postgres.slow", "10 to 60 ms each way between a process and PostgreSQL.",
          postgres_slow),
    Fault("network.postgres.standing", "No byte between a process and PostgreSQL for 5 s.",
          postgres_standing),
    Fault("network.postgres.reset", "A process' connections to PostgreSQL reset, five times.",
          postgres_reset),
    Fault("network.kafka.slow", "10 to 60 ms each way before every broker.", kafka_slow),
    Fault("network.kafka.standing", "No byte to or from a broker for 5 s.", kafka_standing),
    Fault("network.kafka.reset", "All connections to Kafka reset, five times.", kafka_reset),
    *(
        Fault(f"network.commit-answer.{who}", f"The answer to a COMMIT of the {who} cut, 5 times.",
              _cut_commit(who))
        for who in VICTIMS
    ),
    Fault("network.produce-answer", "The answer to a Produce request cut, five times.",
          produce_cut),
)  # fmt: skip
