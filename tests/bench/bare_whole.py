"""Kafka to log to score by the bare drivers, a process of its own: the ceiling of `whole`.

The inbox's statement over what a bare consumer polled, and beside it the plain loop. It begins at
the beginning whenever it is started: nothing here goes on after a crash.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

import asyncpg
from analytics.engagement.model import load_model
from crm_chassis.lifecycle import run_until_signalled
from crm_events.topics import CONTRACT
from crm_kafka.inbox.taking import TAKE

from tests.bench.bare_inbox import AT_ONCE, POLL_MS, arguments, consumer_of, place
from tests.bench.plain_loop import PlainLoop

IDLE_S: Final = 0.005


async def take(connection: asyncpg.Connection, bootstrap: str) -> None:
    """Poll and write, poll and write."""
    marks = await place(connection)
    consumer = await consumer_of(bootstrap)
    try:
        while True:
            polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
            if polled:
                await connection.execute(TAKE, *arguments(polled, marks))
    finally:
        await consumer.stop()


async def fold(loop: PlainLoop) -> None:
    """Fold page by page; where there is none, look again in a moment."""
    at = await loop.begin()
    while True:
        end = await loop.turn(at)
        if end is None:
            await asyncio.sleep(IDLE_S)
        else:
            at = end


async def run(stop: asyncio.Event) -> bool:
    url = os.environ["ANALYTICS_DATABASE_URL"]
    taking, folding = await asyncpg.connect(url), await asyncpg.connect(url)
    loops = [
        asyncio.create_task(take(taking, os.environ["ANALYTICS_KAFKA_BOOTSTRAP"])),
        asyncio.create_task(fold(PlainLoop(folding, load_model(None, CONTRACT)))),
    ]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([*loops, stopped], return_when=asyncio.FIRST_COMPLETED)
    for one in (*loops, stopped):
        one.cancel()
    ended = await asyncio.gather(*loops, return_exceptions=True)
    for connection in (taking, folding):
        connection.terminate()
    return all(isinstance(one, asyncio.CancelledError) for one in ended)


if __name__ == "__main__":
    raise SystemExit(run_until_signalled(run))
