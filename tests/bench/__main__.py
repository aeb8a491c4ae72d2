"""`make bench`: measure the rows, and write down what came out."""

from __future__ import annotations

import argparse
import signal
import sys
from multiprocessing import get_context

from tests.bench.measuring import DOCS, RESULTS, measure_family, write_page
from tests.bench.results import load
from tests.bench.row import Row
from tests.bench.running import all_rows, chosen, families

RUNS = 3


def measured_apart(arguments: argparse.Namespace, rows: tuple[Row, ...]) -> bool:
    """Did nothing break? Measured in a fresh process, with servers of its own."""
    names = [row.name for row in rows]
    process = get_context("spawn").Process(target=measure_family, args=(arguments, names))
    process.start()
    try:
        process.join()
    finally:
        process.terminate()
        process.join()
    return process.exitcode == 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", default="", help="names, or how they begin, with commas between")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each contestant")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all")
    parser.add_argument("--peers", action="store_true", help="the peers beside Kith")
    parser.add_argument("--page", action="store_true", help="write the page anew, measure nothing")
    parser.add_argument("--growth", default="1e6", help="the largest size of the rows about growth")
    arguments = parser.parse_args()
    try:
        rows = chosen(all_rows(), [name for name in arguments.rows.split(",") if name])
    except LookupError as error:
        parser.error(str(error))
    if arguments.page:
        write_page(load(DOCS / RESULTS), DOCS)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through `finally`
    ended = [measured_apart(arguments, family) for family in families(rows)]
    if not all(ended):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
