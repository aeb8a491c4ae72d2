"""What sales decides by itself: kill -9 round the transaction of a reaction, and of a timer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from tests.fault.fault import Fault
from tests.fault.faults.kill_points import POINTS
from tests.fault.proxy.points import Where
from tests.fault.selling import selling

if TYPE_CHECKING:
    import random

    from tests.fault.world import World

DEALS: Final = 3
DECIDED: Final = {
    # who decides: the statement that writes it, and the event that it is
    "timer": ("timer.ring", "sales.deal.rotted"),
    "reaction": ("reaction.append", "sales.task.opened"),
}


def _killed(who: str, where: Where) -> Callable[[World, random.Random], Awaitable[None]]:
    """Each deal is found to rot once, and its owner is given one task, whoever dies over it."""
    what, kind = DECIDED[who]

    async def run(world: World, _: random.Random) -> None:
        async with selling(world) as sales:
            with sales.process.postgres.armed(where, what) as point:
                deals = [await sales.leave() for _ in range(DEALS)]
                await point.reached()
                await sales.process.kill()
            written = sum((await sales.events(kind, deals)).values())
            if where is Where.COMMITTED:
                assert written, "it was held before it was committed"
            else:
                assert not written, f"{written} were committed before it was held"
            await sales.process.start()
            await sales.followed_up()
            for _, each in DECIDED.values():
                counts = await sales.events(each, deals)
                assert counts == dict.fromkeys(deals, 1), f"{each}: {counts} of {deals}"

    return run


FAULTS: Final = tuple(
    Fault(
        f"{who}.kill.{name}",
        f"kill -9 of sales as its {who} decides: {meaning}.",
        _killed(who, where),
        weight=1,
    )
    for who in DECIDED
    for name, (where, meaning) in POINTS.items()
)
