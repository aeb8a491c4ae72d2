"""pyeventsourcing's recorder on the same PostgreSQL, in both its modes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson

from tests.bench.bench import Bench
from tests.bench.peers.environment import ENGINES, python
from tests.bench.row import Contestant, Contestants, Run

SECONDS, QUICK_SECONDS = 6.0, 1.0
MODES = ("default", "functions")


def contestants(*, threads: Sequence[int], batch: int) -> Contestants:
    """Both modes at so many threads, so many events a call."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        python()  # made before anything is timed
        yield [_contestant(bench, mode, count, batch) for mode in MODES for count in threads]

    return opened


def _contestant(bench: Bench, mode: str, threads: int, batch: int) -> Contestant:
    async def run() -> Run:
        seconds = QUICK_SECONDS if bench.quick else SECONDS
        async with bench.database() as url:
            command = [python(), ENGINES / "append.py", url, mode, threads, batch, seconds]
            async with bench.timed() as timed:
                process = await asyncio.create_subprocess_exec(
                    *map(str, command), stdout=asyncio.subprocess.PIPE
                )
                told, _ = await process.communicate()
            assert process.returncode == 0, told.decode()[-300:]
        found = orjson.loads(told)
        return timed.run(
            "peer",
            f"pyeventsourcing {mode}, {threads} threads",
            events=found["events"],
            correct=found["kept"] == found["events"],
            figures={"per_second": found["events"] / found["seconds"]},
            settings={"threads": threads, "events a call": batch, "for seconds": seconds},
        )

    return run
