"""Processes by pid and birth, so that a pid given to somebody else is never signalled."""

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

GONE_SECONDS = 10.0
_STOP_ROUNDS = 5
_LOOK_AGAIN_SECONDS = 0.02
_DISCARD_SECONDS = 5.0
# PostgreSQL lets go of its shared memory on SIGQUIT and of nothing on SIGKILL.
DISCARD_SIGNALS = {
    "postgres": signal.SIGQUIT,
    "kafka": signal.SIGKILL,
    "redis": signal.SIGKILL,
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that is told from a later one with the same pid by the moment of its birth."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """None when no such process runs."""
        born = _born(pid)
        return None if born is None else cls(pid, born)

    @property
    def alive(self) -> bool:
        return _born(self.pid) == self.born and self._status() != psutil.STATUS_ZOMBIE

    @property
    def paused(self) -> bool:
        return self.alive and self._status() == psutil.STATUS_STOPPED

    def family(self) -> list[psutil.Process]:
        """The process and all its descendants, itself first; empty when it is gone."""
        if not self.alive:
            return []
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _status(self) -> str:
        try:
            return psutil.Process(self.pid).status()
        except psutil.NoSuchProcess:
            return psutil.STATUS_ZOMBIE


def pause(process: ProcessId) -> None:
    """SIGSTOP for the process and every descendant, the parent first so that it starts no more."""
    seen: set[int] = set()
    for _ in range(_STOP_ROUNDS):
        fresh = [member for member in process.family() if member.pid not in seen]
        if not fresh:
            return
        for member in fresh:
            _send(member, signal.SIGSTOP)
            seen.add(member.pid)


def resume(process: ProcessId) -> None:
    """SIGCONT for the process and every descendant, the parent last."""
    for member in reversed(process.family()):
        _send(member, signal.SIGCONT)


def kill(process: ProcessId) -> None:
    """SIGKILL for the process and every descendant; returns when none of them is left.

    PostgreSQL gives each backend a process group of its own, so killing by group is not enough.
    """
    pause(process)
    family = process.family()
    for member in family:
        _send(member, signal.SIGKILL)
    _wait_for(family, within_seconds=GONE_SECONDS)


def end(process: ProcessId, *, by: signal.Signals, within_seconds: float) -> None:
    """Ask by a signal; what is still there after `within_seconds` is killed."""
    resume(process)
    family = process.family()
    if family:
        _send(family[0], by)
        _wait_for(family, within_seconds=within_seconds)
    kill(process)


def is_known(name: str) -> bool:
    """Whether a server of this name ("postgres", "kafka", "kafka-2") is one of ours."""
    return name.partition("-")[0] in DISCARD_SIGNALS


def discard(name: str, process: ProcessId) -> None:
    """End the server `name` without a thought for its data, but leaving nothing outside of it."""
    signal_number = DISCARD_SIGNALS[name.partition("-")[0]]
    end(process, by=signal_number, within_seconds=_DISCARD_SECONDS)


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a thread of its own, so that callers inside an event loop may wait too."""
    with ThreadPoolExecutor(1, thread_name_prefix="crm-stack") as pool:
        return pool.submit(asyncio.run, coroutine).result()


def last_line(log: Path, *, wanted: Sequence[str] = ()) -> str:
    """The last line of a log that holds one of `wanted`, or else the last line; '' without one."""
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if any(word in line for word in wanted)]
        if telling or lines:
            return (telling or lines)[-1].strip()
    return ""


def _wait_for(family: list[psutil.Process], *, within_seconds: float) -> None:
    """Until each has ended. One that only waits for its parent to notice has: not all do soon."""
    turn = threading.Event()
    for _ in range(int(within_seconds / _LOOK_AGAIN_SECONDS)):
        if all(_ended(member) for member in family):
            return
        turn.wait(_LOOK_AGAIN_SECONDS)


def _ended(member: psutil.Process) -> bool:
    try:
        return not member.is_running() or member.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _send(member: psutil.Process, signal_number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        member.send_signal(signal_number)


def _born(pid: int) -> str | None:
    """Boot, pid namespace and start tick on Linux, for the wall clock may be set; else its time."""
    try:
        if sys.platform != "linux":
            return repr(psutil.Process(pid).create_time())
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # field 22 of proc(5) stat; the first two are before the closing bracket
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}/{fields[19]}"
    except (OSError, psutil.NoSuchProcess):
        return None
