"""From runs to a verdict: medians of what was not disturbed, ratios, and how short of a bar."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.bench.row import Bar, Kind, Row, Run

MOST_OTHER = 0.05
"""Where others took more of the machine a run says little: it is marked, and made once more."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The runs of one contestant in one figure."""

    kind: Kind
    who: str
    median: float
    low: float
    high: float
    runs: int
    disturbed: bool  # no run was quiet: the median is of disturbed ones


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was reached; `by` is the share that is missing of it, 0 where it is met."""

    bar: Bar
    reached: float | None  # None: what it compares with was not measured
    by: float

    @property
    def met(self) -> bool | None:
        return None if self.reached is None else self.by == 0


def quiet(runs: Iterable[Run]) -> list[Run]:
    """Those that nobody disturbed; all of them where each was."""
    every = list(runs)
    return [run for run in every if run.cost.other <= MOST_OTHER] or every


def middle(runs: Iterable[Run], figure: str) -> float | None:
    """The median of a figure over the quiet runs; None where none has it."""
    found = [value for run in quiet(runs) if (value := run.figure(figure)) is not None]
    return statistics.median(found) if found else None


def contestants(runs: Sequence[Run]) -> list[tuple[Kind, str]]:
    """In the order in which they first ran."""
    return list(dict.fromkeys((run.kind, run.who) for run in runs))


def of(runs: Iterable[Run], kind: Kind, who: str) -> list[Run]:
    return [run for run in runs if (run.kind, run.who) == (kind, who)]


def summaries(runs: Sequence[Run], figure: str) -> list[Summary]:
    """One for each contestant that has the figure."""
    told: list[Summary] = []
    for kind, who in contestants(runs):
        theirs = of(runs, kind, who)
        kept = quiet(theirs)
        values = [value for run in kept if (value := run.figure(figure)) is not None]
        if values:
            disturbed = any(run.cost.other > MOST_OTHER for run in kept)
            told.append(
                Summary(
                    kind,
                    who,
                    statistics.median(values),
                    min(values),
                    max(values),
                    len(values),
                    disturbed,
                )
            )
    return told


def judged(row: Row, runs: Sequence[Run], beside: Sequence[Run] = ()) -> list[Verdict]:
    """What Kith reached of each bar of the row.

    A bar over a peer is judged in `beside`, the last run that had peers, where `runs` has none.
    """
    if any(run.kind == "peer" for run in runs):
        beside = runs
    return [_judge(bar, beside if bar.over_peer else runs) for bar in row.bars]


def of_ceilings(row: Row, runs: Sequence[Run]) -> dict[str, float]:
    """The figure of the first Kith as a multiple of each ceiling's, by the ceiling's name."""
    own = middle(first(runs, "kith"), row.figure)
    shares = {
        who: _ratio(own, middle(of(runs, kind, who), row.figure))
        for kind, who in contestants(runs)
        if kind == "ceiling"
    }
    return {who: share for who, share in shares.items() if share is not None}


def _judge(bar: Bar, runs: Sequence[Run]) -> Verdict:
    whose = [who for kind, who in contestants(runs) if kind == "kith"]
    if not whose:
        return Verdict(bar, None, 0)
    own = of(runs, "kith", whose[-1 if bar.judges == "last" else 0])
    reached = middle(own, bar.figure)
    if bar.over is not None:
        reached = _ratio(reached, _compared(bar, runs))
    if reached is None:
        return Verdict(bar, None, 0)
    short = 1 - reached / bar.limit if bar.better == "more" else reached / bar.limit - 1
    return Verdict(bar, reached, max(0.0, short))


def _compared(bar: Bar, runs: Sequence[Run]) -> float | None:
    """What the ceiling, Kith's first contestant or the peer of that name reached.

    Where several begin with the name, they are one peer's modes and the best counts; those that
    were killed do not.
    """
    if bar.over == "ceiling":
        return middle(first(runs, "ceiling"), bar.figure)
    if bar.over == "first":
        return middle(first(runs, "kith"), bar.figure)
    peers = {run.who for run in runs if run.kind == "peer" and not run.was_killed}
    names = {who for who in peers if who.startswith(bar.over)}
    modes = {bar.over} & names or names
    reached = [middle(of(runs, "peer", who), bar.figure) for who in modes]
    found = [one for one in reached if one is not None]
    best = max if bar.better == "more" else min
    return best(found) if found else None


def first(runs: Sequence[Run], kind: Kind) -> list[Run]:
    """Of the contestant of that kind that ran first; none where there is none."""
    whose = [who for found, who in contestants(runs) if found == kind]
    return of(runs, kind, whose[0]) if whose else []


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
