"""What sales decides by itself: kill -9 round the transaction of a reaction, and of a timer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from tests.fault.fault import Fault
from tests.fault.faults.kill_points import POINTS
from tests.fault.selling import HASTY, SOON_SECONDS, Sales, selling

if TYPE_CHECKING:
    import random

    from tests.fault.proxy.points import Where
    from tests.fault.world import World

FOLLOWS: Final = ("sales.deal.rotted", "sales.task.opened")
"""A deal rots when its timer rings; a reaction to that opens a task. Once for each deal."""
TRANSACTIONS: Final = {"timer": "timer.ring", "reaction": "reaction.append"}


def _killed(what: str, where: Where) -> Callable[[World, random.Random], Awaitable[None]]:
    async def run(world: World, _: random.Random) -> None:
        async with selling(world) as sales:
            with sales.process.postgres.armed(where, what) as point:
                deal = await sales.open(HASTY)
                await point.reached()
                await sales.process.kill()
            await sales.process.start()
            other = await sales.open(HASTY)
            for each in (deal, other):
                await _followed(sales, each)
            for each in (deal, other):
                counts = [await sales.events(kind, each) for kind in FOLLOWS]
                assert counts == [1, 1], f"{counts} of {FOLLOWS} because of one deal"

    return run


async def _followed(sales: Sales, deal: str) -> None:
    """Wait until the last of what follows from a deal is there."""

    async def is_there() -> bool:
        return await sales.events(FOLLOWS[-1], deal) > 0

    await sales.world.until(is_there, within_seconds=SOON_SECONDS, what="what follows")


FAULTS: Final = tuple(
    Fault(
        f"{who}.kill.{name}",
        f"kill -9 of sales as its {who} decides: {meaning}.",
        _killed(what, where),
        weight=1,
    )
    for who, what in TRANSACTIONS.items()
    for name, (where, meaning) in POINTS.items()
)
