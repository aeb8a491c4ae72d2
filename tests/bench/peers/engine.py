"""The scoring engines beside Kith: what each is, how it is started, how far it says it is."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Self
from uuid import UUID

import orjson

from tests.bench.bench import Bench
from tests.bench.load import Total
from tests.bench.peers.environment import ENGINES, python, streams_command
from tests.bench.row import Setting

PARTITIONS: Final = 4
EVENTS, WARM_EVENTS = 300_000, 1_200_000
LOOK_EVERY_S = 0.05
SESSION_S = 10
"""Of those that join a group, as their sources set it."""
TASKSET: Final = shutil.which("taskset") or ""
Decoded = tuple[UUID, Total]
_rounds = itertools.count(1)


@dataclass(frozen=True)
class Engine:
    """One peer. `table` is where its last state of each customer lies; {g}, {t} are filled in."""

    name: str
    command: Callable[[], list[str] | None]  # None: what it needs is not here
    table: str
    decode: Callable[[bytes, bytes], Decoded | None]
    events: int = EVENTS
    commit_seconds: float = 1.0
    threads: int = 1
    pinned: bool = False
    out: bool = False  # every state goes to a topic of its own
    prepare: Callable[[Path], list[str]] | None = None
    needs: str = ""  # what `command` looks for

    @property
    def settings(self) -> dict[str, Setting]:
        return {
            "commit every ms": int(self.commit_seconds * 1e3),
            "threads": self.threads,
            "partitions": PARTITIONS,
            "pinned": "to one core, the servers to the other" if self.pinned else "no",
            **({} if self.out else {"session timeout s": SESSION_S}),
        }


def bytewax_command() -> list[str]:
    run = [str(python()), "-m", "bytewax.run", "bytewax_score:flow"]
    return [*run, "-s", "1", "-b", "0", "-r", "{state}/recovery"]


def bytewax_recovery(state: Path) -> list[str]:
    return [str(python()), "-m", "bytewax.recovery", f"{state}/recovery", "1"]


def quix_command() -> list[str]:
    return [str(python()), str(ENGINES / "quix_score.py")]


def _streams(key: bytes, value: bytes) -> Decoded | None:
    count, cents, _score, _last = struct.unpack(">qqdq", value)
    return UUID(key.decode()), Total(count, cents)


def _quix(key: bytes, value: bytes) -> Decoded | None:
    if key.count(b"|") != 1:
        return None
    count, cents, *_ = orjson.loads(value)
    return UUID(key.split(b"|")[0].decode().strip('"')), Total(count, cents)


def _plain(key: bytes, value: bytes) -> Decoded | None:
    count, cents, *_ = orjson.loads(value)
    return UUID(key.decode()), Total(count, cents)


STREAMS_TWO: Final = Engine(
    "Kafka Streams eos, two cores", streams_command, "{g}-scores-changelog", _streams,
    events=WARM_EVENTS, commit_seconds=0.1, threads=2,
    needs="a JDK (`javac`) that compiles its class",
)  # fmt: skip
STREAMS_ONE: Final = replace(
    STREAMS_TWO, name="Kafka Streams eos, one core", threads=1, pinned=True
)
QUIX: Final = Engine(
    "Quix exactly-once", quix_command, "changelog__{g}--{t}--default", _quix
)  # fmt: skip
BYTEWAX: Final = Engine(
    "Bytewax, every state out", bytewax_command, "out-{g}", _plain,
    out=True, prepare=bytewax_recovery,
)  # fmt: skip
SCORING: Final = (STREAMS_ONE, STREAMS_TWO, QUIX, BYTEWAX)
WAITING: Final = (
    replace(STREAMS_ONE, name="Kafka Streams eos", pinned=False),
    replace(QUIX, commit_seconds=0.1),
    BYTEWAX,
)
"""Where latency is measured: commits every 100 ms, and nobody has a core to itself."""


@dataclass(frozen=True)
class Placed:
    """An engine with a group and a folder of its own; started again, it finds what it left."""

    engine: Engine
    topic: str
    group: str
    folder: Path
    command: list[str]
    environment: Mapping[str, str]

    @classmethod
    async def on(cls, bench: Bench, engine: Engine, command: list[str], topic: str) -> Self:
        group = f"peer-{next(_rounds)}"
        folder = bench.folder / group
        (folder / "recovery").mkdir(parents=True)
        environment = {
            **os.environ,
            "PEER_BOOTSTRAP": bench.kafka,
            "PEER_TOPIC": topic,
            "PEER_GROUP": group,
            "PEER_STATE": str(folder),
            "PEER_OUT": f"out-{group}",
            "PEER_THREADS": str(engine.threads),
            "PEER_COMMIT_SECONDS": str(engine.commit_seconds),
            "PYTHONPATH": str(ENGINES),
        }
        if engine.prepare is not None:
            await asyncio.to_thread(
                subprocess.run, engine.prepare(folder), check=True, env=environment
            )
        pin = [TASKSET, "-c", "1"] if engine.pinned and TASKSET else []
        filled = [part.format(state=folder) for part in command]
        return cls(engine, topic, group, folder, [*pin, *filled], environment)

    @property
    def table(self) -> str:
        """The topic with its last states."""
        return self.engine.table.format(g=self.group, t=self.topic)

    def start(self) -> Running:
        return Running(self.command, self.environment, self.folder)


class Running:
    """A process of an engine, and how far it says it is."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._errors: IO[bytes] = (folder / "errors.txt").open("ab")
        self._said = folder / f"said-{time.monotonic_ns()}.txt"
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=out, stderr=self._errors
            )

    @property
    def seen(self) -> int:
        lines = self._said.read_bytes().rpartition(b"\n")[0].splitlines()
        marks = [int(line.split()[1]) for line in lines[-20:] if line.startswith(b"P ")]
        return marks[-1] if marks else 0

    def check(self) -> None:
        if self.process.poll() is not None:
            said = Path(self._errors.name).read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"ended with {self.process.poll()}: {(said or [''])[-1]:.300}")

    async def has_seen(self, count: int, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while self.seen < count:
                self.check()
                await asyncio.sleep(LOOK_EVERY_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._errors.close()
