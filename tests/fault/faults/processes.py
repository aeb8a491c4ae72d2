"""Our own processes: killed, and frozen long enough for another to take over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.fault.fault import Fault

if TYPE_CHECKING:
    import random

    from tests.fault.process import Process
    from tests.fault.world import World

FROZEN_SECONDS: Final = 4.0
"""Well past the lease's 1.5 s: another one leads, and the frozen one wakes up a zombie."""
TWICE: Final = 2


async def _kill(world: World, victim: Process) -> None:
    """kill -9, and at once again: the second one meets whatever the start does first."""
    for _ in range(TWICE):
        await victim.kill()
        await victim.start()
        await world.acknowledged(100)


async def kill_collector(world: World, _: random.Random) -> None:
    await _kill(world, world.collector)


async def kill_relay(world: World, _: random.Random) -> None:
    await _kill(world, world.relay)


async def kill_member(world: World, rng: random.Random) -> None:
    await _kill(world, rng.choice(world.members))


async def kill_folding_owner(world: World, _: random.Random) -> None:
    await _kill(world, await world.holder("analytics"))


async def freeze_collector(world: World, _: random.Random) -> None:
    await world.collector.freeze()
    await asyncio.sleep(FROZEN_SECONDS)
    world.collector.thaw()
    await world.acknowledged(200)


async def freeze_relay(world: World, _: random.Random) -> None:
    """With a second worker of contacts beside it, which leads while the first is frozen."""
    async with world.standby("contacts", "worker", "2"):
        first = await world.holder("contacts")
        await first.freeze()
        await world.taken_over(first, "relay")
        await world.acknowledged(400)
        first.thaw()
        await world.acknowledged(200)


async def freeze_member(world: World, rng: random.Random) -> None:
    member = rng.choice(world.members)
    await member.freeze()
    await world.taken_over(member, "inbox")
    member.thaw()
    await world.acknowledged(200)


async def freeze_folding_owner(world: World, _: random.Random) -> None:
    owner = await world.holder("analytics")
    await owner.freeze()
    await world.taken_over(owner, "projection")
    await asyncio.sleep(FROZEN_SECONDS)
    owner.thaw()
    await world.acknowledged(200)


FAULTS: Final = (
    Fault("collector.kill", "kill -9 of contacts' API, twice in a row.", kill_collector),
    Fault("relay.kill", "kill -9 of contacts' worker, twice in a row.", kill_relay),
    Fault("inbox.kill", "kill -9 of one of analytics' workers, twice in a row.", kill_member),
    Fault("projection.kill", "kill -9 of the worker that folds, twice.", kill_folding_owner),
    Fault("collector.freeze", "SIGSTOP of contacts' API for 4 s.", freeze_collector),
    Fault("relay.freeze", "SIGSTOP of the relay; another leads, then it wakes up.", freeze_relay),
    Fault("inbox.freeze", "SIGSTOP of a member until others have its partitions.",
          freeze_member),
    Fault(
        "projection.freeze", "SIGSTOP of the worker that folds until another does; SIGCONT.",
        freeze_folding_owner,
    ),
)  # fmt: skip
