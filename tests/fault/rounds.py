"""Running rounds: events stream in, a fault comes and is healed, all gets level, it is judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from crm_stack.small_disk import can_mount

from tests.fault.judge import Judge
from tests.fault.level import LEVEL_SECONDS, level
from tests.fault.load import RefusedError
from tests.fault.verdict import Round
from tests.fault.watching import holding, watched

if TYPE_CHECKING:
    from tests.fault.fault import Fault
    from tests.fault.verdict import Verdict
    from tests.fault.world import World

BEFORE_SECONDS: Final = 1.5
AFTER_SECONDS: Final = 1.5
LONGEST_FAULT_SECONDS: Final = 240.0
"""Of a fault, beside the long outage that it may hold."""


def missing_needs(fault: Fault) -> str | None:
    """What this machine lacks for a fault, or None."""
    if "root" in fault.needs and not can_mount():
        return "needs root"
    return None


def schedule(faults: Sequence[Fault], rounds: int, seed: int) -> list[Fault]:
    """A mixed order: each fault once in a seeded order, then at random by weight.

    Those of weight 0 come again only where no others were chosen.
    """
    rng = random.Random(seed)  # noqa: S311  # a repeatable order
    once = list(faults)
    rng.shuffle(once)
    often = [fault for fault in faults if fault.weight] or list(faults)
    while len(once) < rounds and often:
        once.append(rng.choices(often, [fault.weight or 1 for fault in often])[0])
    return once[:rounds]


async def run_rounds(
    world: World, faults: Sequence[Fault], verdict: Verdict, told: Callable[[Round], None]
) -> None:
    """Run the faults in this order; `verdict` grows by a round each, `told` hears of it."""
    verdict.planned = len(faults)
    judge = Judge(world)
    async with _load(world):  # what the first fault finds has been judged already
        await asyncio.sleep(BEFORE_SECONDS)
    before = await judge.verdict(level=await level(world))
    assert before.clean, f"wrong before any fault: {before.examples}"
    began = time.monotonic()
    for number, fault in enumerate(faults, start=1):
        this = Round(number, fault.name, time.monotonic() - began)
        rng = random.Random(f"{verdict.seed}-{number}")  # noqa: S311  # a repeatable fault
        this.timeline = world.timeline.begin()
        verdict.rounds.append(this)
        async with _load(world, this), watched(world, this):
            await asyncio.sleep(BEFORE_SECONDS)
            try:
                async with asyncio.timeout(LONGEST_FAULT_SECONDS + world.long_outage_seconds):
                    await fault.run(world, rng)
            except Exception as error:  # noqa: BLE001  # told with its round; the others go on
                this.tell(f"{type(error).__name__}: {error}")
            world.timeline.note("healing")
            for name in await _heal(world):
                this.tell(f"{name} had ended by itself")
            healed = time.monotonic()
            this.healed_s = healed - began
            world.timeline.note("healed")
            await asyncio.sleep(AFTER_SECONDS)
        if await level(world, LEVEL_SECONDS - (time.monotonic() - healed)):
            this.level_s = time.monotonic() - healed
            world.timeline.note("level")
        this.holding.at_end = await holding(world)
        if fault.spoils:
            judge.forget()
        this.counts = await judge.verdict(level=this.level_s is not None)
        verdict.accepted = world.load.count
        verdict.answers = {str(status): n for status, n in world.load.answers.items()}
        verdict.rolling_pauses_s = world.notes.pauses_seconds
        verdict.grown_bytes = world.notes.grown_bytes
        verdict.seconds = time.monotonic() - began
        told(this)


@asynccontextmanager
async def _load(world: World, this: Round | None = None) -> AsyncGenerator[None]:
    """200 messages a second while the body runs; what was begun is seen through.

    Where a sender had to give up, or was answered what it must never be, the round is told so.
    """
    stop = asyncio.Event()
    sending = asyncio.create_task(world.load.send(stop))
    try:
        yield
    finally:
        stop.set()
        try:
            await sending
        except* (RefusedError, AssertionError) as refused:
            if this is None:
                raise
            this.tell(str(refused.exceptions[0]))


async def _heal(world: World) -> list[str]:
    """Whatever a fault left behind: servers answer, every process runs.

    Answers which processes had ended though nobody ended them: an outage is no reason to.
    """
    await asyncio.to_thread(world.stack.restore)
    for process in world.processes:
        if process.alive:
            process.thaw()
    return await world.supervise()
