"""What the process of a family of rows does: measure them, and write down what came out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from crm_chassis.event_loop import event_loop
from crm_store.logs import configure_logs
from rich.console import Console
from rich.traceback import Traceback

from demo.running import end_by_sigterm
from tests.bench.bench import Bench
from tests.bench.growth_picture import draw_growth
from tests.bench.judging import MOST_OTHER
from tests.bench.peers.rows import PEERS
from tests.bench.report import render, verdicts_of
from tests.bench.results import Results, load, record, save, where_of
from tests.bench.row import Row, Run
from tests.bench.running import all_rows, measure_each
from tests.bench.servers import servers
from tests.bench.words import outcome, said

DOCS = Path("docs")
QUICK_FOLDER = Path(".kith/bench")
RESULTS, PAGE, PICTURE = "benchmarks.json", "benchmarks.md", "growth.svg"


def measure_family(arguments: argparse.Namespace, names: list[str]) -> None:
    """Measure the rows of these names. Exits with 1 where one of them broke."""
    log_to_nowhere()
    console = Console()
    rows = tuple(row for row in all_rows() if row.name in names)
    # Kith's parts and the bare drivers alike.
    with event_loop() as runner:
        broken = runner.run(run(arguments, rows, console))
    if broken:
        console.print(f"[red]Broken: {', '.join(broken)}")
        raise SystemExit(1)


async def run(arguments: argparse.Namespace, rows: tuple[Row, ...], console: Console) -> list[str]:
    """Measure row by row; what is measured is written down before the next begins.

    A row that breaks leaves the others theirs; it is in the answer, and so is one whose sums are
    not the oracle's.
    """
    end_by_sigterm()
    broken: list[str] = []

    def broke(row: Row, error: Exception) -> None:
        broken.append(row.name)
        trace = Traceback.from_exception(type(error), error, error.__traceback__)
        console.print(f"{row.name} broke:", trace)

    out = QUICK_FOLDER if arguments.quick else DOCS
    results = load(out / RESULTS)
    peers = PEERS if arguments.peers else {}
    with servers() as stack, tempfile.TemporaryDirectory(prefix="kith-bench-") as folder:
        where = await where_of(stack)
        async with Bench.on(
            stack,
            Path(folder),
            runs=arguments.runs,
            quick=arguments.quick,
            growth=int(float(arguments.growth)),
        ) as bench:
            told = partial(say, console)
            async for row, runs in measure_each(bench, rows, peers=peers, said=told, broke=broke):
                if any(run.correct is False for run in runs if run.kind == "kith"):
                    broken.append(f"{row.name} (wrong)")
                results = results.having(record(row.name, runs, where))
                for verdict in verdicts_of(row, results):
                    console.print(f"  {said(verdict.bar)}: {outcome(verdict)}", highlight=False)
                save(results, out / RESULTS)
                write_page(results, out)
    console.print(f"Written: {out / RESULTS}, {out / PAGE}")
    return broken


def write_page(results: Results, out: Path) -> None:
    """The page and its picture, of all rows that there are results of."""
    (out / PAGE).write_text(render(all_rows(), results), "utf-8")
    draw_growth(results, out / PICTURE)


def say(console: Console, row: Row, run: Run | None) -> None:
    """A line when a row begins, and one for each of its runs."""
    if run is None:
        console.print(f"[bold]{row.name}[/]  {row.does}")
        return
    figure = run.figure(row.figure)
    told = [f"{figure:,.1f} {row.unit}" if figure is not None else "nothing measured"]
    told += [
        f"{part} {spent:.1f} s" for part, spent in run.cost.cpu_seconds.items() if spent > 0.05
    ]
    if run.correct is False:
        told.append("[red]WRONG[/]")
    if run.cost.other > MOST_OTHER:
        told.append(f"[yellow]others {run.cost.other:.0%}[/]")
    console.print(f"  {run.kind:8}{run.who:32}{'  '.join(told)}", highlight=False)


def log_to_nowhere() -> None:
    """Lines are made as in production, for they cost; only errors are shown."""
    configure_logs("bench", "json")
    (made,) = logging.getLogger().handlers
    assert isinstance(made, logging.StreamHandler)
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(made.formatter)
    shown.setLevel(logging.ERROR)
    made.setStream(Path(os.devnull).open("w"))  # noqa: SIM115  # until the process ends
    logging.getLogger().addHandler(shown)
