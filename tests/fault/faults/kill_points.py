"""kill -9, and SIGSTOP, exactly between the steps of each transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from tests.fault.fault import Fault
from tests.fault.proxy.kafka import armed
from tests.fault.proxy.points import Where

if TYPE_CHECKING:
    import random

    from tests.fault.process import Process
    from tests.fault.world import World

FROZEN_SECONDS: Final = 4.0
"""Of a collector, and of the others after another one has taken over."""
AFTERWARDS: Final = 150
"""Messages that go through before the round ends."""

Victim = Callable[["World", "random.Random"], Awaitable["Process"]]


async def _collector(world: World, _: random.Random) -> Process:
    return world.collector


async def _relay(world: World, _: random.Random) -> Process:
    return await world.holder("contacts")


async def _member(world: World, rng: random.Random) -> Process:
    return rng.choice(world.members)


async def _folding_owner(world: World, _: random.Random) -> Process:
    return await world.holder("analytics")


VICTIMS: Final[dict[str, tuple[Victim, str]]] = {
    "collector": (_collector, "collector.append"),
    "relay": (_relay, "relay.move"),
    "inbox": (_member, "inbox.take"),
    "projection": (_folding_owner, "projection.move"),
}
POINTS: Final = {
    # name in the catalogue: where the connection is held, and what that means
    "not-written": (Where.BEFORE, "its statement had not been executed"),
    "written": (Where.WRITTEN, "its statement was executed and not committed"),
    "committed": (Where.COMMITTED, "it was committed and not acknowledged"),
}


def _killed(who: str, where: Where) -> Callable[[World, random.Random], Awaitable[None]]:
    choose, what = VICTIMS[who]

    async def run(world: World, rng: random.Random) -> None:
        victim = await choose(world, rng)
        with victim.postgres.armed(where, what) as point:
            await point.reached()
            await victim.kill()
        await victim.start()
        await world.acknowledged(AFTERWARDS)

    return run


def _frozen(who: str, where: Where) -> Callable[[World, random.Random], Awaitable[None]]:
    """The process stands inside its transaction, wakes up, and its statement goes on."""
    choose, what = VICTIMS[who]

    async def run(world: World, rng: random.Random) -> None:
        async with AsyncExitStack() as beside:
            if who == "relay":
                await beside.enter_async_context(world.standby("contacts", "worker", "2"))
            victim = await choose(world, rng)
            with victim.postgres.armed(where, what) as point:
                await point.reached()
                await victim.freeze()
                await world.taken_over(victim, who)
                await asyncio.sleep(FROZEN_SECONDS)
                victim.thaw()
                point.resume()
            await world.acknowledged(AFTERWARDS)

    return run


async def killed_before_send(world: World, _: random.Random) -> None:
    relay = await world.holder("contacts")
    with armed(world.kafka_proxies, Where.BEFORE, world.connections_of(relay)) as point:
        await point.reached()
        await relay.kill()
    await relay.start()
    await world.acknowledged(AFTERWARDS)


async def killed_before_answer(world: World, _: random.Random) -> None:
    relay = await world.holder("contacts")
    with armed(world.kafka_proxies, Where.COMMITTED, world.connections_of(relay)) as point:
        await point.reached()
        await relay.kill()
    await relay.start()
    await world.acknowledged(AFTERWARDS)


def _faults() -> tuple[Fault, ...]:
    made = [
        Fault("relay.kill.before-send", "kill -9 of the relay, its records not sent yet.",
              killed_before_send),
        Fault("relay.kill.sent-not-answered", "kill -9 of the relay: sent, no answer came yet.",
              killed_before_answer),
    ]  # fmt: skip
    for who in VICTIMS:
        for name, (where, meaning) in POINTS.items():
            if who == "relay" and where is Where.BEFORE:
                name, meaning = "sent-not-moved", "sent, and its position not moved"  # noqa: PLW2901
            does = f"kill -9 of the {who}: {meaning}."
            made.append(Fault(f"{who}.kill.{name}", does, _killed(who, where)))
    for who in VICTIMS:
        for name in ("written", "committed"):
            where, meaning = POINTS[name]
            until = "for 4 s" if who == "collector" else "until another has taken over"
            does = f"SIGSTOP of the {who} {until}: {meaning}; then it goes on."
            made.append(Fault(f"{who}.freeze.{name}", does, _frozen(who, where)))
    return tuple(made)


FAULTS: Final = _faults()
