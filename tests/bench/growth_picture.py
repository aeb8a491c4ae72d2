"""The picture of growth: cost of an event, and of a read, against the number of events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.bench.judging import contestants, middle, of
from tests.bench.results import Record, Results

PREFIX = "growth."
COST, READ, BYTES = "us_per_event", "p99_ms", "bytes_per_event"


def points(record: Record, figure: str) -> dict[int, float]:
    """By size of the log; contestants of Kith carry it in their settings as `size`."""
    found: dict[int, float] = {}
    for kind, who in contestants(record.runs):
        theirs = of(record.runs, kind, who)
        value = middle(theirs, figure)
        if kind == "kith" and value is not None and "size" in theirs[0].settings:
            found[int(theirs[0].settings["size"])] = value
    return dict(sorted(found.items()))


def draw_growth(results: Results, path: Path) -> None:
    """One line per row `growth.*`; nothing is drawn where none was measured."""
    lines = {name: one for name, one in results.latest.items() if name.startswith(PREFIX)}
    if not lines:
        return
    from matplotlib import rc_context  # noqa: PLC0415  # dear to import, and asked for last
    from matplotlib.figure import Figure  # noqa: PLC0415  # as above

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for panel, (name, label) in zip(
        panels,
        ((COST, "µs an event"), (READ, "p99 of a read, ms"), (BYTES, "bytes an event")),
        strict=True,
    ):
        for row, measured in _drawn(lines, name).items():
            panel.plot(list(measured), list(measured.values()), marker="o", label=row)
        panel.set(xscale="log", xlabel="events in the log", ylabel=label)
        panel.set_ylim(bottom=0)
        if panel.lines:
            panel.legend(fontsize="small")
    with rc_context({"svg.hashsalt": "kith"}):  # the same figures draw the same file
        figure.savefig(path, metadata={"Date": None})


def _drawn(lines: Mapping[str, Record], figure: str) -> dict[str, dict[int, float]]:
    drawn = {
        name.removeprefix(PREFIX): points(record, figure) for name, record in sorted(lines.items())
    }
    return {name: measured for name, measured in drawn.items() if measured}
