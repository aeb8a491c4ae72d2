"""Scoring engines beside Kith: one topic, one fold, each durable, checked to the cent."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from tests.bench.bench import Bench
from tests.bench.load import samples, totals
from tests.bench.peers.engine import EVENTS, TASKSET, WARM_EVENTS, Engine, Placed
from tests.bench.peers.tables import LONGEST_S, create, durable, last_states, publish
from tests.bench.row import KILL_AFTER, Contestant, Contestants, Run

QUICK_EVENTS = 10_000
TOPICS = {EVENTS: "peers.events", WARM_EVENTS: "peers.events-warm", QUICK_EVENTS: "peers.few"}
STARTED_WITHIN_S = 60.0


def contestants(engines: Sequence[Engine], *, killed: bool) -> Contestants:
    """Each undisturbed and, where `killed`, once more with a kill -9 in the middle."""

    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        found: list[Contestant] = []
        for engine in engines:
            command = engine.command()
            if command is None:
                continue  # the page names those that did not run
            events = bench.size(engine.events, quick=QUICK_EVENTS)
            await publish(bench.kafka, TOPICS[events], events)
            found.append(_contestant(bench, engine, command, events, killed=False))
            if killed:
                found.append(_contestant(bench, engine, command, events, killed=True))
        yield found

    return opened


def _contestant(
    bench: Bench, engine: Engine, command: list[str], events: int, *, killed: bool
) -> Contestant:
    async def run() -> Run:
        placed = await Placed.on(bench, engine, command, TOPICS[events])
        if engine.out:
            await create(bench.kafka, placed.table, compact=True)
        figures: dict[str, float] = {}
        with _servers_apart(bench, apart=engine.pinned and bool(TASKSET)):
            running = placed.start()
            try:
                if killed:
                    await running.has_seen(int(events * KILL_AFTER), LONGEST_S)
                    killed_at = time.perf_counter()
                    running.kill()
                    running = placed.start()
                await running.has_seen(1, STARTED_WITHIN_S)
                if killed:
                    figures["back_s"] = time.perf_counter() - killed_at
                exactly = not (killed and engine.out)
                with bench.watch(engine=running.process.pid):
                    async with bench.timed() as timed:
                        began = time.perf_counter()
                        ended = await durable(bench.kafka, placed, running, events, exactly=exactly)
                # What it had not committed it does again, and that counts as its work.
                counted = min(running.seen, events) if killed else events
            finally:
                running.kill()
        figures["per_second"] = counted / (ended - began)
        right = totals(samples(events))
        return timed.run(
            "peer",
            f"{engine.name}, kill -9 in the middle" if killed else engine.name,
            events=counted,
            correct=await last_states(bench.kafka, placed) == right,
            figures=figures,
            settings={**engine.settings, "the clock begins": "at the first event seen"},
        )

    return run


@contextmanager
def _servers_apart(bench: Bench, *, apart: bool) -> Iterator[None]:
    """Where an engine has a core of its own, the servers and this harness share the other."""
    pids = [os.getpid(), *bench.meter.trees.values()] if apart else []
    try:
        for pid in pids:
            _pin(pid, "0")
        yield
    finally:
        for pid in pids:
            _pin(pid, "0-1")


def _pin(pid: int, cores: str) -> None:
    subprocess.run([TASKSET, "-a", "-p", "-c", cores, str(pid)], check=True, capture_output=True)
