"""`docs/benchmarks.md`, written from the results: every row, what is short, peers, growth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.bench.judging import (
    MOST_OTHER,
    Summary,
    Verdict,
    contestants,
    judged,
    middle,
    of,
    of_ceiling,
    quiet,
    summaries,
)
from tests.bench.results import Record, Results
from tests.bench.row import Bar, Row, Run

HEAD = """\
# Benchmarks

Written by `make bench`; edit nothing here. `ROWS=append,fold` chooses rows (those not chosen keep
what was measured before, with its date), `RUNS=n` how often, `PEERS=1` adds the peers, `GROWTH=1e7`
the largest size; `QUICK=1` tries everything with small sizes and writes nothing here.

Every figure is the median of its quiet runs, in brackets the smallest and the largest. A ceiling
and a peer are measured in the same run on the same servers as Kith, in turn; client, product and
servers share the machine. "Others" is the largest share of the machine that went to processes that
are not ours in a run that counts. Above {most} no run was quiet and the figure says little: it is
marked with `!`. Correct: sum and count agree with the oracle.
"""
FIGURES = """\
## Figures

| row | what, keys | Kith | ceiling | of it | bars | correct | others | promises | measured |
|---|---|---|---|---|---|---|---|---|---|"""
LATENCIES = """\
## Latencies

Open loop: an event is due at its time whether or not those before it are answered, and its latency
counts from then. Milliseconds; the last column is how late the generator was, 99th percentile.

| row | who | p50 | p95 | p99 | largest | generator |
|---|---|---|---|---|---|---|"""
COSTS = """\
## What it costs

CPU seconds a million events, by part; peak resident memory of client and product.

| row | who | CPU | memory, MB |
|---|---|---|---|"""
SETTINGS = """\
## Settings

| row | who | settings | runs |
|---|---|---|---|"""
PEERS = """\
## Beside the peers

Each in its durable mode, in one run with the Kith beside it.

| row | who | figure | Kith is | CPU s/M | memory, MB | correct | promises | measured |
|---|---|---|---|---|---|---|---|---|"""
GROWTH = """\
## As it grows

![cost of an event and of a read against the number of events](growth.svg)

Each point is a log of that size under the same calls; the numbers stand in the tables above.
"""
LATENCY_COLUMNS = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "late_p99_ms")


def render(rows: Sequence[Row], results: Results) -> str:
    """The whole page."""
    known = [(row, results.latest[row.name]) for row in rows if row.name in results.latest]
    parts = [
        HEAD.format(most=_percent(MOST_OTHER)),
        _places([record for _, record in known]),
        _short(known),
        _figures(known),
        _latencies(known),
        _costs(known),
        _settings(known),
        _peers(
            [(row, results.with_peers[row.name]) for row in rows if row.name in results.with_peers]
        ),
        _growth(known),
    ]
    return "\n".join(part for part in parts if part)


def said(bar: Bar) -> str:
    """A bar in words: "at least 30,000 events/s", "p99 at most 50 ms"."""
    what = "" if bar.figure == "per_second" else f"{_named(bar.figure)} "
    word = "at least" if bar.better == "more" else "at most"
    limit = _percent(bar.limit) if bar.over == "ceiling" else f"{bar.limit:,.10g}"
    return f"{what}{word} {limit} {bar.unit}"


def outcome(verdict: Verdict) -> str:
    """What was reached of a bar, and how much is missing."""
    if verdict.reached is None:
        return "not measured"
    reached = _amount(verdict.bar, verdict.reached)
    if verdict.met:
        return f"met: {reached}"
    word = "short" if verdict.bar.better == "more" else "over"
    return f"**{word} by {_percent(verdict.by)}**: {reached}"


def _places(records: Sequence[Record]) -> str:
    if not records:
        return "Nothing was measured yet.\n"
    newest = max(records, key=lambda record: record.measured_at)
    lines = ["## Machine\n", *(f"- {name}: {told}" for name, told in newest.where.items())]
    for record in records:
        differing = {
            name: told for name, told in record.where.items() if newest.where.get(name) != told
        }
        if differing:
            lines.append(f"- `{record.row}` was measured elsewhere: {_pairs(differing)}")
    return "\n".join(lines) + "\n"


def _short(known: Iterable[tuple[Row, Record]]) -> str:
    lines = [
        f"- `{row.name}`: {said(verdict.bar)}; {outcome(verdict)}"
        for row, record in known
        for verdict in judged(row, record.runs)
        if verdict.met is False
    ]
    wrong = [
        f"- `{row.name}`: {who} was **wrong** against the oracle"
        for row, record in known
        for kind, who in contestants(record.runs)
        if kind == "kith" and any(run.correct is False for run in of(record.runs, kind, who))
    ]
    return "## What is short\n\n" + ("\n".join(wrong + lines) or "No bar that was measured.") + "\n"


def _figures(known: Iterable[tuple[Row, Record]]) -> str:
    lines = [FIGURES]
    for row, record in known:
        found = summaries(record.runs, row.figure)
        bars = "<br>".join(f"{said(one.bar)}: {outcome(one)}" for one in judged(row, record.runs))
        ratio = of_ceiling(row, record.runs)
        own = [run for run in record.runs if run.kind == "kith"] or list(record.runs)
        lines.append(
            _line(
                f"`{row.name}`",
                f"{row.does}{f'; keys: {row.keys}' if row.keys else ''}",
                _shown(row, found, "kith"),
                _shown(row, found, "ceiling"),
                "" if ratio is None else _percent(ratio),
                bars,
                _correct(own),
                _percent(max(run.cost.other for run in quiet(own))),
                "; ".join(row.promises[who] for _, who in contestants(own) if who in row.promises),
                f"{record.measured_at[:10]} `{record.tree}`",
            )
        )
    return "\n".join(lines) + "\n"


def _latencies(known: Iterable[tuple[Row, Record]]) -> str:
    lines: list[str] = []
    for row, record in known:
        for kind, who in contestants(record.runs):
            theirs = of(record.runs, kind, who)
            if any(run.latency for run in theirs):
                cells = [middle(theirs, name) or 0.0 for name in LATENCY_COLUMNS]
                lines.append(_line(f"`{row.name}`", who, *(f"{ms:,.1f}" for ms in cells)))
    if not lines:
        return ""
    return "\n".join([LATENCIES, *lines]) + "\n"


def _costs(known: Iterable[tuple[Row, Record]]) -> str:
    lines = [COSTS]
    for row, record in known:
        for kind, who in contestants(record.runs):
            if kind != "peer":
                lines.append(_cost(f"`{row.name}`", who, of(record.runs, kind, who)))
    return "\n".join(lines) + "\n"


def _settings(known: Iterable[tuple[Row, Record]]) -> str:
    lines: list[str] = []
    for row, record in known:
        for kind, who in contestants(record.runs):
            last = of(record.runs, kind, who)[-1]
            if kind != "peer":
                told = _pairs({"events": f"{last.events:,}", **last.settings})
                lines.append(
                    _line(f"`{row.name}`", who, told, f"{len(of(record.runs, kind, who))}")
                )
    return "\n".join([SETTINGS, *lines]) + "\n"


def _peers(known: Sequence[tuple[Row, Record]]) -> str:
    if not known:
        return ""
    lines = [PEERS]
    for row, record in known:
        found = summaries(record.runs, row.figure)
        own = next((one.median for one in found if one.kind == "kith"), None)
        for one in found:
            theirs = of(record.runs, one.kind, one.who)
            times = own / one.median if own and one.median and one.kind == "peer" else None
            cpu, memory = _spent(theirs)
            lines.append(
                _line(
                    f"`{row.name}`",
                    one.who,
                    _number(row, one),
                    "" if times is None else f"{times:.2f} times",
                    cpu,
                    memory,
                    _correct(theirs),
                    _promise(row, one.who, theirs),
                    record.measured_at[:10],
                )
            )
    return "\n".join(lines) + "\n"


def _growth(known: Iterable[tuple[Row, Record]]) -> str:
    if not any(row.name.startswith("growth.") for row, _ in known):
        return ""
    return GROWTH


def _promise(row: Row, who: str, runs: Sequence[Run]) -> str:
    return row.promises.get(who) or str(runs[-1].settings.get("promises", ""))


def _cost(name: str, who: str, runs: Sequence[Run]) -> str:
    return _line(name, who, *_spent(runs))


def _spent(runs: Sequence[Run]) -> tuple[str, str]:
    parts = list(dict.fromkeys(part for run in runs for part in run.cost.cpu_seconds))
    cpu = {part: middle(runs, f"cpu.{part}") for part in parts}
    peaks = list(dict.fromkeys(part for run in runs for part in run.cost.rss_mb))
    memory = {part: middle(runs, f"rss_mb.{part}") for part in peaks}
    return _numbers(cpu, "{:.1f}"), _numbers(memory, "{:.0f}")


def _numbers(parts: Mapping[str, float | None], form: str) -> str:
    return ", ".join(
        f"{part} {form.format(value)}" for part, value in parts.items() if value is not None
    )


def _shown(row: Row, found: Sequence[Summary], kind: str) -> str:
    theirs = [one for one in found if one.kind == kind]
    many = len(theirs) > 1
    return "<br>".join(
        f"{one.who}: {_number(row, one)}" if many else _number(row, one) for one in theirs
    )


def _number(row: Row, one: Summary) -> str:
    mark = " !" if one.disturbed else ""
    return f"{_plain(one.median)} {row.unit} ({_plain(one.low)} to {_plain(one.high)}){mark}"


def _correct(runs: Sequence[Run]) -> str:
    told = [run.correct for run in runs if run.correct is not None]
    if not told:
        return ""
    return "yes" if all(told) else f"**no**, {told.count(False)} of {len(told)} runs"


def _amount(bar: Bar, value: float) -> str:
    if bar.over == "ceiling":
        return f"{_percent(value)} {bar.unit}"
    return f"{_plain(value)} {bar.unit}"


def _named(figure: str) -> str:
    return figure.replace("_ms", "").replace("rss_mb.", "memory of ").replace("_", " ")


def _plain(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _pairs(told: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
