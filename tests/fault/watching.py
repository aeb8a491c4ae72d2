"""What is watched while a round runs: how long services stood, and which partitions waited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx

from tests.fault.world import AWAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fault.process import Process
    from tests.fault.verdict import Round
    from tests.fault.world import World

FOLDS: Final = ("contacts", "analytics")
SAMPLE_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 1.0

MOVED: Final = """
select extract(epoch from min(moved_at))::float8 from projection_checkpoint
"""


@asynccontextmanager
async def watched(world: World, this: Round) -> AsyncGenerator[None]:
    """Note what the round is told of its services until the body ends."""
    watching = [
        *(asyncio.create_task(_note_pauses(world, service, this)) for service in FOLDS),
        asyncio.create_task(_note_holding(world, this)),
    ]
    try:
        yield
    finally:
        for one in watching:
            one.cancel()
        ended = await asyncio.gather(*watching, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error


@asynccontextmanager
async def grown(world: World, what: str, processes: Sequence[Process]) -> AsyncGenerator[None]:
    """Note by how many bytes each of them grew while the body ran, at most."""
    before = {process.name: process.rss_bytes() for process in processes}
    most = world.notes.grown_bytes

    async def note() -> None:
        while True:
            for process in processes:
                name = f"{what}, {process.name}"
                more = process.rss_bytes() - before[process.name]
                most[name] = max(most.get(name, 0), more)
            await asyncio.sleep(LOOK_SECONDS)

    noting = asyncio.create_task(note())
    try:
        yield
    finally:
        noting.cancel()
        await asyncio.wait({noting})


async def holding(world: World, client: httpx.AsyncClient | None = None) -> int:
    """How many partitions wait for a missing number now, as all workers tell."""
    if client is None:
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as one:
            return await holding(world, one)
    return sum(await asyncio.gather(*(worker.holding(client) for worker in world.workers)))


async def _note_holding(world: World, this: Round) -> None:
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as client:
        last = time.monotonic()
        while True:
            count = await holding(world, client)
            now = time.monotonic()
            this.holding.note(count, now - last)
            last = now
            await asyncio.sleep(LOOK_SECONDS)


async def _note_pauses(world: World, service: str, this: Round) -> None:
    """The longest time for which a projection of the service did not move."""
    last = time.time()

    def note() -> None:
        this.pauses_s[service] = max(this.pauses_s.get(service, 0.0), time.time() - last)

    while True:
        try:
            async with world.database(service) as connection:
                while True:
                    moved = await connection.fetchval(MOVED, timeout=5)
                    last = max(last, moved or 0.0)
                    note()
                    await asyncio.sleep(SAMPLE_SECONDS)
        except AWAY:
            note()
            await asyncio.sleep(SAMPLE_SECONDS)
