"""What leaves: kill -9 between writing down whom to tell, claiming, calling, and noting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from tests.fault.fault import Fault
from tests.fault.proxy.points import Where
from tests.fault.selling import SOON_SECONDS, Sales, selling

if TYPE_CHECKING:
    import random

    from tests.fault.world import World

CLAIM: Final = "effect.claim"


def _killed(
    what: str, where: Where, *, claimed: bool, calls: int
) -> Callable[[World, random.Random], Awaitable[None]]:
    """Whether a claim is left that nobody settles, and how often the back office is called."""

    async def run(world: World, _: random.Random) -> None:
        async with selling(world) as sales:
            with sales.process.postgres.armed(where, what) as point:
                deal = await sales.win()
                await point.reached()
                await sales.process.kill()
            await _comes_back(sales, deal, claimed=claimed, calls=calls)

    return run


def _killed_at_claim(
    where: Where, *, claimed: bool
) -> Callable[[World, random.Random], Awaitable[None]]:
    """At the claim that finds something: they are made all the time."""

    async def run(world: World, _: random.Random) -> None:
        async with selling(world) as sales:
            armed = sales.process.postgres.armed
            with armed(Where.BEFORE, CLAIM) as idle:
                await idle.reached()
                deal = await sales.win()
                await sales.meant()
                with armed(where, CLAIM) as point:
                    idle.resume()
                    await point.reached()
                    await sales.process.kill()
            await _comes_back(sales, deal, claimed=claimed, calls=1)

    return run


async def killed_in_the_call(world: World, _: random.Random) -> None:
    """The back office has taken the call, its answer does not come."""
    async with selling(world) as sales:
        sales.office.answers = False
        deal = await sales.win()

        async def has_come() -> bool:
            return deal in sales.office.ids

        await world.until(has_come, within_seconds=SOON_SECONDS, what="the call")
        await sales.process.kill()
        sales.office.answers = True
        await _comes_back(sales, deal, claimed=True, calls=2)


async def _comes_back(sales: Sales, deal: str, *, claimed: bool, calls: int) -> None:
    """Sales is begun again: a deal is told of under one id, as often as was to be."""
    await sales.process.start()
    if claimed:
        await sales.minute_passes()
    last = await sales.win()
    await sales.told()
    ids = sales.office.ids
    assert len(ids[deal]) == calls, f"called {len(ids[deal])} times, {calls} were to be"
    assert len(set(ids[deal])) == 1, "one deal was told of under two ids"
    assert len(ids[last]) == 1, "another deal was not told of once"
    assert ids[deal][0] != ids[last][0], "two deals were told of under one id"


FAULTS: Final = (
    Fault("effect.kill.not-meant", "kill -9 of sales: whom to tell is not written down.",
          _killed("effect.mean", Where.BEFORE, claimed=False, calls=1), weight=1),
    Fault("effect.kill.meant-not-committed", "kill -9 of sales: written down, not committed.",
          _killed("effect.mean", Where.WRITTEN, claimed=False, calls=1), weight=1),
    Fault("effect.kill.meant", "kill -9 of sales: whom to tell was committed.",
          _killed("effect.mean", Where.COMMITTED, claimed=False, calls=1), weight=1),
    Fault("effect.kill.claim-not-committed", "kill -9 of sales: its claim is not committed.",
          _killed_at_claim(Where.WRITTEN, claimed=False), weight=1),
    Fault("effect.kill.claimed", "kill -9 of sales: claimed, and nobody called.",
          _killed_at_claim(Where.COMMITTED, claimed=True), weight=1),
    Fault("effect.kill.in-call", "kill -9 of sales: the call was taken, no answer came.",
          killed_in_the_call, weight=1),
    Fault("effect.kill.sent-not-settled", "kill -9 of sales: called, and not noted.",
          _killed("effect.settle", Where.BEFORE, claimed=True, calls=2), weight=1),
    Fault("effect.kill.settle-not-committed", "kill -9 of sales: noted, not committed.",
          _killed("effect.settle", Where.WRITTEN, claimed=True, calls=2), weight=1),
    Fault("effect.kill.settled", "kill -9 of sales: called, and it was committed.",
          _killed("effect.settle", Where.COMMITTED, claimed=False, calls=1), weight=1),
)  # fmt: skip
