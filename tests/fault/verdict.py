"""What a run of faults found: a file that keeps it, and a table that shows it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.fault.copies import Counts
from tests.fault.timeline import Entry

P99: Final = 0.99
MEGABYTE: Final = 1_000_000
LONGEST_ROLLING_PAUSE_S: Final = 3.0
MOST_GROWN_BYTES: Final = 64 * MEGABYTE
MANY_ROUNDS: Final = 100
COUNTED: Final = (
    "lost", "doubled", "misordered", "unseen", "stuck", "quarantined", "wrong_rows",
)  # fmt: skip
LEGEND: Final = (
    "level: after the heal; pause: the longest for which a read model of contacts (c) or analytics "
    "(a) did not move; held: partitions that waited for a missing number, at most, and for how long"
)
LONGEST_ROUND_S: Final = 24.0
"""On average over many rounds: a hundred in forty minutes."""


@dataclass
class Holding:
    """Topic partitions that waited for a missing number, as the workers tell of themselves."""

    most: int = 0  # at one time
    seconds: float = 0.0  # for which any did
    at_end: int = 0  # when all was level, or should have been: must be 0

    def note(self, count: int, seconds: float) -> None:
        """So many hold, as they may have since the last look, `seconds` ago."""
        self.most = max(self.most, count)
        self.seconds += seconds if count else 0.0


@dataclass
class Round:
    """One fault, its heal, and quiet. Seconds are of the run's own clock; `timeline`'s the round's.

    `pauses_s` is by service: the longest time for which one of its projections did not move.
    """

    number: int
    fault: str
    began_s: float
    healed_s: float = 0.0
    level_s: float | None = None  # from the heal on; None: not within 60 s
    pauses_s: dict[str, float] = field(default_factory=dict)
    holding: Holding = field(default_factory=Holding)
    broken: str | None = None  # a promise that the fault itself saw broken
    counts: Counts = field(default_factory=Counts)
    timeline: list[Entry] = field(default_factory=list)

    def tell(self, what: str) -> None:
        """Note a promise that was broken."""
        self.broken = what if self.broken is None else f"{self.broken}; {what}"

    @property
    def clean(self) -> bool:
        level = self.level_s is not None and not self.holding.at_end
        return self.broken is None and level and self.counts.clean

    @property
    def wrong(self) -> list[str]:
        """What was not as it must be, in words."""
        said = [self.broken] if self.broken else []
        if self.holding.at_end:
            said.append(f"{self.holding.at_end} partitions hold at the end")
        return said + self.counts.examples


@dataclass
class Verdict:
    """A whole run. `seed` and the same faults give the same load and the same order of faults."""

    seed: int
    settings: dict[str, Any]
    planned: int = 0  # rounds; a run that has fewer was broken off
    rounds: list[Round] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # from the first fault on
    accepted: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    rolling_pauses_s: list[float] = field(default_factory=list)
    grown_bytes: dict[str, int] = field(default_factory=dict)  # at most, by what stood and who
    python: str = platform.python_version()

    @property
    def clean(self) -> bool:
        return bool(self.rounds) and all(each.clean for each in self.rounds) and not self.missed

    @property
    def missed(self) -> list[str]:
        """What the run as a whole falls short of, in words."""
        missed: list[str] = []
        if len(self.rounds) < self.planned:
            missed.append(f"broken off after {len(self.rounds)} of {self.planned} rounds")
        pause = self.rolling_pause_p99_s
        if pause is not None and pause >= LONGEST_ROLLING_PAUSE_S:
            missed.append(f"paused {pause:.2f} s at a rolling SIGTERM, {LONGEST_ROLLING_PAUSE_S} s")
        if len(self.rounds) >= MANY_ROUNDS and self.seconds > LONGEST_ROUND_S * len(self.rounds):
            missed.append(f"{self.seconds / 60:.1f} minutes, a hundred rounds are to fit forty")
        missed += [
            f"{who}: grown by {grown / MEGABYTE:.1f} MB, {MOST_GROWN_BYTES / MEGABYTE:.0f} MB"
            for who, grown in self.grown_bytes.items()
            if grown >= MOST_GROWN_BYTES
        ]
        return missed

    @property
    def rolling_pause_p99_s(self) -> float | None:
        ordered = sorted(self.rolling_pauses_s)
        return ordered[min(len(ordered) - 1, int(P99 * len(ordered)))] if ordered else None

    def write(self, file: Path) -> None:
        """Keep it; after every round, so that what was cut short is told too."""
        file.parent.mkdir(parents=True, exist_ok=True)
        told = {"clean": self.clean, "rolling_pause_p99_s": self.rolling_pause_p99_s}
        file.write_text(json.dumps({**told, **asdict(self)}, indent=1, default=str) + "\n")

    def show(self, console: Console) -> None:
        """The table, a line per fault, and what was wrong."""
        table = Table(box=None, pad_edge=False)
        for name in ("fault", "rounds", *COUNTED, "level", "pause c", "pause a", "held", "for"):
            justify = "left" if name == "fault" else "right"
            table.add_column(name.replace("_", " "), justify=justify)
        for fault in dict.fromkeys(each.fault for each in self.rounds):
            mine = [each for each in self.rounds if each.fault == fault]
            _add(table, fault, mine)
        _add(table, "all", self.rounds)
        console.print(table)
        console.print(LEGEND)
        for each in self.rounds:
            for said in each.wrong:
                console.print(f"round {each.number} {each.fault}: {said}", style="red")
            for second, what in [] if each.clean else each.timeline:
                console.print(f"{second:10.2f} s  {what}", highlight=False)
        for name, why in self.skipped.items():
            console.print(f"skipped {name}: {why}")
        p99 = self.rolling_pause_p99_s
        if p99 is not None:
            count = len(self.rolling_pauses_s)
            console.print(f"pause at rolling SIGTERM: p99 {p99:.2f} s of {count}")
        for who, grown in self.grown_bytes.items():
            console.print(f"memory, {who}: grown by {grown / MEGABYTE:.1f} MB")
        for said in self.missed:
            console.print(said, style="red")
        outcome = "clean" if self.clean else "NOT CLEAN"
        console.print(
            f"seed {self.seed}: {len(self.rounds)} rounds in {self.seconds / 60:.1f} minutes, "
            f"{self.accepted} acknowledged, {outcome}"
        )


def _add(table: Table, name: str, rounds: list[Round]) -> None:
    def total(what: str) -> str:
        return str(sum(getattr(each.counts, what) for each in rounds))

    levels = [each.level_s for each in rounds]
    slowest = None if None in levels else max((level or 0.0 for level in levels), default=0.0)
    pauses = [
        max((each.pauses_s.get(service, 0.0) for each in rounds), default=0.0)
        for service in ("contacts", "analytics")
    ]
    held = max((each.holding.most for each in rounds), default=0)
    held_s = max((each.holding.seconds for each in rounds), default=0.0)
    table.add_row(
        name,
        str(len(rounds)),
        *map(total, COUNTED),
        "-" if slowest is None else f"{slowest:.1f} s",
        *(f"{pause:.1f} s" for pause in pauses),
        str(held),
        f"{held_s:.1f} s",
        style="" if all(each.clean for each in rounds) else "red",
    )
