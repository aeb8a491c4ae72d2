"""A timeline of purchases by the bare driver, a process of its own: the ceiling of `restart`."""

from __future__ import annotations

import asyncio
import os
from typing import Final

import asyncpg
from crm_chassis.lifecycle import run_until_signalled
from crm_events.contacts import OrderCompleted
from crm_projections.checkpoints import standing_at
from crm_store.log.position import LAST, bounds
from crm_store.log.tail import PAGE, position_of

from tests.bench.bare_latency import PAGE_ROWS, show_own
from tests.bench.checkpoint import register

MODEL: Final = "timeline"
IDLE_S: Final = 0.005


async def follow(pool: asyncpg.Pool) -> None:
    """Read a page, show it, read the next; it goes on where its checkpoint is."""
    await register(pool, MODEL)
    at = await standing_at(pool, MODEL, 1)
    while True:
        rows = await pool.fetch(PAGE, *bounds(at, LAST), PAGE_ROWS, [OrderCompleted.type])
        if rows:
            await show_own(pool, MODEL, rows)
            at = position_of(rows[-1])
        else:
            await asyncio.sleep(IDLE_S)


async def run(stop: asyncio.Event) -> bool:
    async with asyncpg.create_pool(
        os.environ["CONTACTS_DATABASE_URL"], min_size=1, max_size=1
    ) as pool:
        following = asyncio.create_task(follow(pool))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([following, stopped], return_when=asyncio.FIRST_COMPLETED)
        for one in (following, stopped):
            one.cancel()
        ended = await asyncio.gather(following, return_exceptions=True)
    return isinstance(ended[0], asyncio.CancelledError)


if __name__ == "__main__":
    raise SystemExit(run_until_signalled(run))
