"""Time, CPU, memory and the neighbours' share, read from /proc before and after."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.row import Cost, Kind, Latency, Run, Setting

CLIENT = "client"
SHORTEST_S = 0.2
"""In less than this the counters' ticks of 10 ms tell nothing of the neighbours: 0 is said."""
RESET_PEAK = "5"  # proc(5), clear_refs: the peak of resident memory starts anew


@dataclass
class Timed:
    """What a timed block cost; complete when the block has ended."""

    cost: Cost | None = None

    def cost_of(self, events: int) -> dict[str, float]:
        """The figure `us_per_event`."""
        assert self.cost is not None, "the timed block has not ended"
        return {"us_per_event": self.cost.seconds / events * 1e6}

    def run(
        self,
        kind: Kind,
        who: str,
        *,
        events: int,
        latency: Latency | None = None,
        correct: bool | None = None,
        figures: Mapping[str, float] | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> Run:
        assert self.cost is not None, "the timed block has not ended"
        return Run(
            kind,
            who,
            events,
            self.cost,
            latency,
            correct,
            dict(figures or {}),
            dict(settings or {}),
        )


@dataclass
class Meter:
    """Trees of processes by the part they play; everything else below us is the client."""

    trees: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def timed(self) -> AsyncIterator[Timed]:
        """Take time, and what it cost. Processes that end inside must not be watched ones."""
        timed = Timed()
        for pid in self._ours_without_shared():
            _forget_peak(pid)
        cpu, busy, begun = self._cpu(), machine_busy_seconds(), time.perf_counter()
        yield timed
        seconds = time.perf_counter() - begun
        spent = {part: one - cpu.get(part, 0.0) for part, one in self._cpu().items()}
        others = machine_busy_seconds() - busy - sum(spent.values())
        told = seconds >= SHORTEST_S
        share = max(0.0, others / (seconds * (os.cpu_count() or 1))) if told else 0.0
        timed.cost = Cost(seconds, spent, self._peaks(), share)

    def _cpu(self) -> dict[str, float]:
        parts = {part: tree_cpu_seconds(pid) for part, pid in self.trees.items()}
        return {CLIENT: tree_cpu_seconds(os.getpid()) - sum(parts.values()), **parts}

    def _peaks(self) -> dict[str, float]:
        watched = {part: pid for part, pid in self.trees.items() if part not in SHARING}
        peaks = {part: peak_mb(pid) for part, pid in watched.items()}
        shared = {part: shared_mb(pid) for part, pid in self.trees.items() if part in SHARING}
        told = {part: mb for part, mb in shared.items() if mb is not None}
        return {CLIENT: _peak_mb(os.getpid()), **peaks, **told}

    def _ours_without_shared(self) -> list[int]:
        """Those whose peak is told, of each tree its root."""
        return [os.getpid(), *(pid for part, pid in self.trees.items() if part not in SHARING)]


SHARING = frozenset({"postgres"})
"""Processes that share most of their memory: each counts the whole cache as resident."""


def tree_cpu_seconds(pid: int) -> float:
    """User and system time of a process and all below it, with ended and waited-for children."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                spent = process.cpu_times()
                total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def peak_mb(pid: int) -> float:
    """The peak of resident memory of a process and those below it, added up."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return sum(_peak_mb(process.pid) for process in (root, *root.children(recursive=True)))
    return 0.0


def shared_mb(pid: int) -> float | None:
    """What a process and those below it have now, pages that they share counted once.

    None where the kernel tells it to nobody, or not to us.
    """
    try:
        root = psutil.Process(pid)
        return sum(_proportional_mb(one.pid) for one in (root, *root.children(recursive=True)))
    except (psutil.Error, PermissionError):
        return None


def machine_busy_seconds() -> float:
    """CPU seconds of the whole machine. Interrupts are left out: they are charged to nobody, and
    those of our own traffic would look like a neighbour."""
    spent = psutil.cpu_times()
    return spent.user + spent.nice + spent.system + getattr(spent, "steal", 0.0)


def _forget_peak(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)


def _proportional_mb(pid: int) -> float:
    """0 of one that ended meanwhile."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _peak_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0
