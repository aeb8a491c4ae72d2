"""`docs/benchmarks.md`, written from the results: every row, what is short, costs, growth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.bench.beside import beside_peers, promise
from tests.bench.judging import (
    MOST_OTHER,
    Verdict,
    contestants,
    first,
    judged,
    middle,
    of,
    of_ceilings,
    quiet,
    summaries,
)
from tests.bench.results import Record, Results
from tests.bench.row import Kind, Row, Run
from tests.bench.words import (
    back,
    correct,
    line,
    number,
    outcome,
    pairs,
    percent,
    plain,
    said,
    spent,
)

HEAD = """\
# Benchmarks

Written by `make bench`; edit nothing here. `ROWS=append,fold` chooses rows (those not chosen keep
what was measured before, with its date), `RUNS=n` how often, `PEERS=1` adds the peers, `GROWTH=1e7`
the largest size; `QUICK=1` tries everything with small sizes and writes nothing here.

Every figure is the median of its quiet runs, in brackets the smallest and the largest. A ceiling
and a peer are measured in the same run on the same servers as Kith, in turn; client, product and
servers share the machine. "Others" is the largest share of the machine that went to processes that
are not ours in a run that counts. Above {most} no run was quiet and the figure says little: it is
marked with `!`. Correct, looked at when the clock has stopped: in `fold.*`, `whole` and the peers'
engines each customer's sum and count are the oracle's; in `inbox` and `relay` each partition holds
the ids that it must, in their order and (but for the relay's ceiling, which numbers nothing) under
their numbers; elsewhere what the row counts is what was sent. The same is asked of the ceilings.

Bars were set on a quiet machine that also has two cores, with events of 300 bytes whose 50,000
keys follow Zipf (s = 1). "Reference" is what was measured there (`4k` is 4,000): beside it the
ceiling shows how fast this machine is. A bar that the ceiling misses too is told with it.
"""
FIGURES = """\
## Figures

| row | what | Kith | ceiling | of it | reference | bars | correct | others | promises | measured |
|---|---|---|---|---|---|---|---|---|---|---|"""
LATENCIES = """\
## Latencies

Open loop: an event is due at its time whether or not those before it are answered. The latency of a
request counts from then, that of a commit from its answer; `growth.*` reads one after the other.
Milliseconds; the last column is how late the generator was, 99th percentile.

| row | who | p50 | p95 | p99 | largest | generator |
|---|---|---|---|---|---|---|"""
COSTS = """\
## What it costs

CPU seconds a million events, by part. Memory: the peak of what client, product and Kafka had
resident; of PostgreSQL what its processes had at the end, pages that they share counted once.

| row | who | CPU | memory, MB |
|---|---|---|---|"""
SETTINGS = """\
## Settings

| row | who | settings | runs |
|---|---|---|---|"""
GROWTH = """\
## As it grows

![cost of an event and of a read against the number of events](growth.svg)

Each point is a log of that size under the same calls; the numbers stand in the tables above.
"""
LATENCY_COLUMNS = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "late_p99_ms")


def render(rows: Sequence[Row], results: Results) -> str:
    """The whole page."""
    known = [(row, results.latest[row.name]) for row in rows if row.name in results.latest]
    everyone = [(row, results.runs(row.name)) for row, _ in known]
    verdicts = {row.name: verdicts_of(row, results) for row, _ in known}
    parts = [
        HEAD.format(most=percent(MOST_OTHER)),
        _places([record for _, record in known]),
        _short(known, verdicts),
        _unmeasured([row for row in rows if row.name not in results.latest]),
        _figures(known, verdicts),
        _latencies(everyone),
        _costs(known),
        _settings(everyone),
        beside_peers(rows, results.with_peers),
        _growth(known),
    ]
    return "\n".join(part for part in parts if part)


def verdicts_of(row: Row, results: Results) -> list[Verdict]:
    """Of its last run; a bar over a peer by the last run that had peers."""
    beside = results.with_peers.get(row.name)
    return judged(row, results.latest[row.name].runs, () if beside is None else beside.runs)


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
            lines.append(f"- `{record.row}` was measured elsewhere: {pairs(differing)}")
    return "\n".join(lines) + "\n"


def _short(known: Sequence[tuple[Row, Record]], verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    lines = [
        f"- `{row.name}`: {said(verdict.bar)}; {outcome(verdict)}{_beyond_ceiling(record, verdict)}"
        for row, record in known
        for verdict in verdicts[row.name]
        if verdict.met is False
    ]
    wrong = [
        f"- `{row.name}`: {who} was **wrong** against the oracle"
        for row, record in known
        for kind, who in contestants(record.runs)
        if kind == "kith" and any(run.correct is False for run in of(record.runs, kind, who))
    ]
    return "## What is short\n\n" + ("\n".join(wrong + lines) or "No bar that was measured.") + "\n"


def _beyond_ceiling(record: Record, verdict: Verdict) -> str:
    """Said of a bar that the ceiling itself misses on this machine."""
    bar, top = verdict.bar, middle(first(record.runs, "ceiling"), verdict.bar.figure)
    if bar.over is not None or top is None:
        return ""
    missed = top < bar.limit if bar.better == "more" else top > bar.limit
    return f"; the ceiling here is {plain(top)} {bar.unit}" if missed else ""


def _unmeasured(rows: Sequence[Row]) -> str:
    """Rows that the command has and this page has no figures of; empty where there are none."""
    if not rows:
        return ""
    return (
        "## Not measured so far\n\n"
        + "\n".join(f"- `{row.name}`: {row.does}" for row in rows)
        + "\n"
    )


def _figures(known: Iterable[tuple[Row, Record]], verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    lines = [FIGURES]
    for row, record in known:
        bars = "<br>".join(f"{said(one.bar)}: {outcome(one)}" for one in verdicts[row.name])
        shares = of_ceilings(row, record.runs)
        own = [run for run in record.runs if run.kind == "kith"] or list(record.runs)
        lines.append(
            line(
                f"`{row.name}`",
                f"{row.does}{f'; keys: {row.keys}' if row.keys else ''}",
                _shown(row, record, "kith"),
                _shown(row, record, "ceiling") or (row.no_ceiling and f"none: {row.no_ceiling}"),
                _each(shares),
                row.reference,
                bars,
                correct(own),
                percent(max(run.cost.other for run in quiet(own))),
                _promises(row, record),
                f"{record.measured_at[:10]} `{record.tree}`",
            )
        )
    return "\n".join(lines) + "\n"


def _each(shares: Mapping[str, float]) -> str:
    """One share as it is; several with their ceilings' names."""
    if len(shares) == 1:
        return percent(*shares.values())
    return "<br>".join(f"{who}: {percent(share)}" for who, share in shares.items())


def _promises(row: Row, record: Record) -> str:
    """Kith's own, and in what the ceiling gives less; what several promise alike once."""
    told = [
        f"{'' if kind == 'kith' else f'{who}: '}{promise(row, who)}"
        for kind, who in contestants(record.runs)
        if kind != "peer"
    ]
    return "<br>".join(dict.fromkeys(told))


def _latencies(known: Iterable[tuple[Row, Sequence[Run]]]) -> str:
    lines: list[str] = []
    for row, runs in known:
        for kind, who in contestants(runs):
            theirs = of(runs, kind, who)
            if any(run.latency for run in theirs):
                cells = [middle(theirs, name) or 0.0 for name in LATENCY_COLUMNS]
                lines.append(line(f"`{row.name}`", who, *(f"{ms:,.1f}" for ms in cells)))
    if not lines:
        return ""
    return "\n".join([LATENCIES, *lines]) + "\n"


def _costs(known: Iterable[tuple[Row, Record]]) -> str:
    lines = [COSTS]
    for row, record in known:
        for kind, who in contestants(record.runs):
            if kind != "peer":
                theirs = of(record.runs, kind, who)
                lines.append(line(f"`{row.name}`", who, *spent(theirs)))
    return "\n".join(lines) + "\n"


def _settings(known: Iterable[tuple[Row, Sequence[Run]]]) -> str:
    lines: list[str] = []
    for row, runs in known:
        for kind, who in contestants(runs):
            theirs = of(runs, kind, who)
            told = pairs({"events": f"{theirs[-1].events:,}", **theirs[-1].settings})
            lines.append(line(f"`{row.name}`", who, told, f"{len(theirs)}"))
    return "\n".join([SETTINGS, *lines]) + "\n"


def _growth(known: Iterable[tuple[Row, Record]]) -> str:
    if not any(row.name.startswith("growth.") for row, _ in known):
        return ""
    return GROWTH


def _shown(row: Row, record: Record, kind: Kind) -> str:
    theirs = [one for one in summaries(record.runs, row.figure) if one.kind == kind]
    told: list[str] = []
    for one in theirs:
        name = f"{one.who}: " if len(theirs) > 1 else ""
        seconds = back(of(record.runs, kind, one.who))
        told.append(f"{name}{number(row, one)}{f'; back after {seconds} s' if seconds else ''}")
    return "<br>".join(told)
