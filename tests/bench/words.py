"""Figures, bars and outcomes in words, and lines of tables made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.judging import Summary, Verdict, middle
from tests.bench.row import Bar, Row, Run


def said(bar: Bar) -> str:
    """A bar in words: "at least 30,000 events/s", "p99 at most 50 ms"."""
    what = "" if bar.figure == "per_second" else f"{_named(bar.figure)} "
    word = "at least" if bar.better == "more" else "at most"
    limit = percent(bar.limit) if bar.over == "ceiling" else f"{bar.limit:,.10g}"
    return f"{what}{word} {limit} {bar.unit}"


def outcome(verdict: Verdict) -> str:
    """What was reached of a bar, and how much is missing."""
    if verdict.reached is None:
        return "not measured"
    reached = _amount(verdict.bar, verdict.reached)
    if verdict.met:
        return f"met: {reached}"
    word = "short" if verdict.bar.better == "more" else "over"
    return f"**{word} by {percent(verdict.by)}**: {reached}"


def number(row: Row, one: Summary) -> str:
    """A contestant's median and spread in the figure of the row."""
    mark = " !" if one.disturbed else ""
    return f"{plain(one.median)} {row.unit} ({plain(one.low)} to {plain(one.high)}){mark}"


def correct(runs: Sequence[Run]) -> str:
    """Did each run agree with the oracle; empty where there was nothing to compare."""
    told = [run.correct for run in runs if run.correct is not None]
    if not told:
        return ""
    return "yes" if all(told) else f"**no**, {told.count(False)} of {len(told)} runs"


def back(runs: Sequence[Run]) -> str:
    """Seconds from a kill until events were taken again; empty where nobody was killed."""
    seconds = middle(runs, "back_s")
    return "" if seconds is None else plain(seconds)


def spent(runs: Sequence[Run]) -> tuple[str, str]:
    """CPU seconds a million events, and peak memory in MB, by part."""
    parts = list(dict.fromkeys(part for run in runs for part in run.cost.cpu_seconds))
    cpu = {part: middle(runs, f"cpu.{part}") for part in parts}
    peaks = list(dict.fromkeys(part for run in runs for part in run.cost.rss_mb))
    memory = {part: middle(runs, f"rss_mb.{part}") for part in peaks}
    return _numbers(cpu, "{:.1f}"), _numbers(memory, "{:.0f}")


def plain(value: float) -> str:
    """With three digits or so."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def pairs(told: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in told.items())


def line(*cells: str) -> str:
    """Of a table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _numbers(parts: Mapping[str, float | None], form: str) -> str:
    return ", ".join(
        f"{part} {form.format(value)}" for part, value in parts.items() if value is not None
    )


def _amount(bar: Bar, value: float) -> str:
    if bar.over == "ceiling":
        return f"{percent(value)} {bar.unit}"
    return f"{plain(value)} {bar.unit}"


def _named(figure: str) -> str:
    return figure.replace("_ms", "").replace("rss_mb.", "memory of ").replace("_", " ")
