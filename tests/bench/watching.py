"""An open loop of events, and when each was to be seen in a read model."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter

import asyncpg
from crm_store.log.position import START, Position
from crm_store.log.tail import position_of

from tests.bench.bench import Bench
from tests.bench.load import Sample, latency, open_loop
from tests.bench.row import Kind, Run

RATE = 1_000
BATCH = 10
SECONDS, WARM_SECONDS, QUICK_SECONDS = 20, 20, 2
LOOK_EVERY_S = 0.008
SEEN_EVERY_S = 0.1
SEEN_WITHIN_S = 60
PURCHASES = """
select l.data ->> 'message_id', l.epoch, l.xid::text as xid, l.gp from log l
where l.type = 'contacts.purchase.completed' order by l.epoch, l.xid, l.gp
"""
STANDS = "select epoch, xid::text as xid, gp from projection_checkpoint where name = $1"


class Watch:
    """When each event was to be seen in a read model: when its checkpoint had passed the event.

    The checkpoint moves with the rows, so looking at it costs one row, however many there are.
    """

    def __init__(self, pool: asyncpg.Pool, model: str, count: str) -> None:
        self._pool = pool
        self._model = model
        self._count = count
        self._since: dict[str, float] = {}  # by message id
        self._stood: list[tuple[Position, float]] = []  # where, first seen when

    def forget(self) -> None:
        """What was expected so far concerns nobody."""
        self._since.clear()

    def expect(self, message_id: str, since: float) -> None:
        self._since[message_id] = since

    async def run(self) -> None:
        while True:
            row = await self._pool.fetchrow(STANDS, self._model)
            at = START if row is None else position_of(row)  # none until the worker runs
            if not self._stood or at > self._stood[-1][0]:
                self._stood.append((at, time.perf_counter()))
            await asyncio.sleep(LOOK_EVERY_S)

    async def all_seen(self, count: int) -> bool:
        """Wait until the model counts so many; False where it counts more."""
        async with asyncio.timeout(SEEN_WITHIN_S):
            while (found := await self._pool.fetchval(self._count)) < count:
                await asyncio.sleep(SEEN_EVERY_S)
        return found == count

    async def took(self) -> list[tuple[float, float]]:
        """Of each event that was expected since when, and for how many seconds."""
        found: list[tuple[float, float]] = []
        for row in await self._pool.fetch(PURCHASES):
            since = self._since.get(row[0])
            place = bisect_left(self._stood, position_of(row), key=itemgetter(0))
            if since is not None and place < len(self._stood):
                found.append((since, self._stood[place][1] - since))
        return found


async def measured(  # each named at the call
    bench: Bench,
    who: str,
    watch: Watch,
    send: Callable[[Sequence[Sample], float], Awaitable[None]],
    *,
    events: Sequence[Sample],
    kind: Kind = "kith",
    at_once: int = BATCH,
    before: int = 0,
) -> Run:
    """Send `at_once` events each in an open loop; what was due in the warm-up is not counted.

    `before`: events that the model counts already.
    """
    warm, seconds = lasting(bench)

    async def begin(n: int, due: float) -> None:
        await send(events[n * at_once : (n + 1) * at_once], due)

    looking = asyncio.create_task(watch.run())
    try:
        async with bench.timed() as timed:
            began = time.perf_counter()
            late = await open_loop(begin, rate=RATE / at_once, seconds=warm + seconds)
            counted = await watch.all_seen(before + len(events))
            await asyncio.sleep(LOOK_EVERY_S * 2)  # the last look is behind the last event
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    every = await watch.took()
    took = [seconds for since, seconds in every if since >= began + warm]
    return timed.run(
        kind,
        who,
        events=len(took),
        latency=latency(took, late),
        correct=counted and len(every) == len(events),
        settings={"events/s": RATE, "a call": at_once, "looked at every ms": LOOK_EVERY_S * 1e3},
    )


def lasting(bench: Bench) -> tuple[int, int]:
    """Seconds of warming up, and those that count."""
    return (0, QUICK_SECONDS) if bench.quick else (WARM_SECONDS, SECONDS)
