"""Results as JSON: one file, a record per row, the last that was measured of each."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
from crm_stack.stack import Stack

from tests.bench.row import Cost, Latency, Run
from tests.bench.servers import KAFKA_OPTIONS, POSTGRES_SETTINGS

KAFKA_VERSION = "4.1.0"
"""Of the jars that `crm_stack` locks; the protocol tells no version."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was measured of one row in one run of the command."""

    row: str
    measured_at: str
    tree: str  # the commit, "+" where there were changes on top of it
    where: Mapping[str, str]  # machine, versions and servers' settings
    runs: tuple[Run, ...]

    @property
    def has_peers(self) -> bool:
        return any(run.kind == "peer" for run in self.runs)


@dataclass(frozen=True, slots=True)
class Results:
    """`latest` by row; `with_peers` by row, of the last run that had them, with its own Kith."""

    latest: Mapping[str, Record]
    with_peers: Mapping[str, Record]

    def having(self, record: Record) -> Results:
        """With a record in the place of an older one of its row."""
        latest = {**self.latest, record.row: record}
        beside = {**self.with_peers, **({record.row: record} if record.has_peers else {})}
        return replace(self, latest=latest, with_peers=beside)

    def runs(self, row: str) -> tuple[Run, ...]:
        """Of the last run of a row; where it had no peers, those of the last run that had."""
        last, beside = self.latest[row], self.with_peers.get(row)
        if last.has_peers or beside is None:
            return last.runs
        return (*last.runs, *(run for run in beside.runs if run.kind == "peer"))


def load(path: Path) -> Results:
    """What earlier runs wrote; nothing where there is no file yet."""
    if not path.exists():
        return Results({}, {})
    kept = json.loads(path.read_text("utf-8"))
    return Results(_records(kept["latest"]), _records(kept["with_peers"]))


def save(results: Results, path: Path) -> None:
    """Whole or not at all: a run that is broken off leaves what was there."""
    text = json.dumps(asdict(results), indent=1)  # in the order in which the page shows it
    half = path.with_suffix(".half")
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_text(text + "\n", "utf-8")
    half.replace(path)


def record(row: str, runs: Sequence[Run], where: Mapping[str, str]) -> Record:
    now = datetime.now(UTC).isoformat(timespec="minutes")  # noqa: TID251  # the edge
    return Record(row, now, _tree(), where, tuple(runs))


async def where_of(stack: Stack) -> dict[str, str]:
    """The machine, what runs on it, and with which settings."""
    connection = await asyncpg.connect(stack.postgres.admin_url)
    try:
        server = await connection.fetchval("show server_version")
    finally:
        await connection.close()
    settings = ", ".join(f"{name} {value}" for name, value in POSTGRES_SETTINGS.items())
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "asyncpg": version("asyncpg"),
        "aiokafka": version("aiokafka"),
        "PostgreSQL": f"{server}; {settings}",
        "Kafka": f"{KAFKA_VERSION}, one node, no fsync a batch; {' '.join(KAFKA_OPTIONS)}",
    }


def _records(kept: Mapping[str, Any]) -> dict[str, Record]:
    return {
        name: Record(
            **{**one, "runs": tuple(_run(run) for run in one["runs"])},
        )
        for name, one in kept.items()
    }


def _run(kept: Mapping[str, Any]) -> Run:
    latency = kept["latency"]
    return Run(
        **{
            **kept,
            "cost": Cost(**kept["cost"]),
            "latency": None if latency is None else Latency(**latency),
        }
    )


def _tree() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],  # noqa: S607  # wherever it is
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!docs")  # which the run itself writes
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
