"""pyeventsourcing's notification log on the same PostgreSQL, read by pages as Kith's log is."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson

from tests.bench.bench import Bench
from tests.bench.peers.appending import MODES
from tests.bench.peers.environment import ENGINES, python
from tests.bench.row import Contestant, Contestants, Run
from tests.bench.rows.tail import EVENTS, QUICK_EVENTS

FILLED_WITHIN_S, READ_WITHIN_S = 120, 120


def contestants(*, page: int) -> Contestants:
    """Both modes, in pages of that many."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        python()  # made before anything is timed
        yield [_contestant(bench, mode, page) for mode in MODES]

    return opened


def _contestant(bench: Bench, mode: str, page: int) -> Contestant:
    async def run() -> Run:
        events = bench.size(EVENTS, quick=QUICK_EVENTS)
        async with bench.database() as url:
            command = [python(), ENGINES / "read.py", url, mode, events, page]
            process = await asyncio.create_subprocess_exec(
                *map(str, command), stdin=PIPE, stdout=PIPE
            )
            try:
                await _heard(process, FILLED_WITHIN_S)
                with bench.watch(engine=process.pid):
                    async with bench.timed() as timed:
                        _go_on(process)
                        told = orjson.loads(await _heard(process, READ_WITHIN_S))
                _go_on(process)
            finally:
                process.stdin.close()
                await process.wait()
        return timed.run(
            "peer",
            f"pyeventsourcing {mode}",
            events=told["seen"],
            correct=told["seen"] == told["last"] == told["kept"] == events,
            settings={"events a page": page},
        )

    return run


async def _heard(process: Process, within_s: float) -> bytes:
    line = await asyncio.wait_for(process.stdout.readline(), within_s)
    assert line, f"ended with {await process.wait()}"
    return line


def _go_on(process: Process) -> None:
    process.stdin.write(b"\n")
