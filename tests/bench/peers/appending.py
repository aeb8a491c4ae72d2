"""pyeventsourcing's recorder on the same PostgreSQL, in both its modes; also over a kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import orjson

from tests.bench.bench import Bench
from tests.bench.peers.environment import ENGINES, python
from tests.bench.row import KILL_AFTER, Contestant, Contestants, Run

SECONDS, QUICK_SECONDS = 6.0, 1.0
STARTED_WITHIN_S = 30.0
MODES = ("default", "functions")
KEPT = "select originator_id, count(*)::int as events from stored_events group by 1"


def contestants(*, threads: Sequence[int], batch: int, killed_at: int | None = None) -> Contestants:
    """Both modes at so many threads, so many events a call; with `killed_at` threads once more."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        python()  # made before anything is timed
        found = [_contestant(bench, mode, count, batch) for mode in MODES for count in threads]
        if killed_at is not None:
            found += [_killed(bench, mode, killed_at, batch) for mode in MODES]
        yield found

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


def _killed(bench: Bench, mode: str, threads: int, batch: int) -> Contestant:
    """Killed in the middle and started again by a client that repeats what was not answered."""

    async def run() -> Run:
        seconds = QUICK_SECONDS if bench.quick else SECONDS
        async with bench.database() as url:
            answered = Answered(threads)
            process = await _start(url, mode, batch, seconds, answered)
            await answered.one_more(process)
            await answered.read_for(process, seconds * KILL_AFTER)
            killed_at = time.perf_counter()
            process.kill()
            await answered.read_out(process)
            process = await _start(url, mode, batch, seconds * (1 - KILL_AFTER), answered)
            await answered.one_more(process)
            back_s = time.perf_counter() - killed_at
            before = answered.calls
            async with bench.timed() as timed:
                await answered.read_out(process)
            assert process.returncode == 0
            connection = await asyncpg.connect(url)
            kept = [row["events"] for row in await connection.fetch(KEPT)]
            await connection.close()
        return timed.run(
            "peer",
            f"pyeventsourcing {mode}, {threads} threads, kill -9 in the middle",
            events=(answered.calls - before) * batch,
            correct=kept == [batch] * answered.calls,
            figures={"back_s": back_s},
            settings={"threads": threads, "events a call": batch, "for seconds": seconds},
        )

    return run


class Answered:
    """Of each thread, the number of its next call: all before it were answered."""

    def __init__(self, threads: int) -> None:
        self.next = [0] * threads

    @property
    def calls(self) -> int:
        return sum(self.next)

    async def one_more(self, process: Process) -> None:
        """Wait until it has answered again."""
        async with asyncio.timeout(STARTED_WITHIN_S):
            self._note(await process.stdout.readline())

    async def read_for(self, process: Process, seconds: float) -> None:
        """Hear what is answered meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    self._note(await process.stdout.readline())

    async def read_out(self, process: Process) -> None:
        """Hear what it still said, and wait until it has ended."""
        while line := await process.stdout.readline():
            self._note(line)
        await process.wait()

    def _note(self, line: bytes) -> None:
        assert line, "it ended by itself"
        thread, number = line.split()
        self.next[int(thread)] = int(number)


async def _start(url: str, mode: str, batch: int, seconds: float, answered: Answered) -> Process:
    first = orjson.dumps(answered.next).decode()
    command = [python(), ENGINES / "append_known.py", url, mode, batch, seconds, first]
    return await asyncio.create_subprocess_exec(*map(str, command), stdout=PIPE)
