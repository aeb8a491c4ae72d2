"""Rows found, chosen and run: contestants in turn, what was disturbed once more."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from tests.bench import rows as rows_package
from tests.bench.bench import Bench
from tests.bench.judging import MOST_OTHER
from tests.bench.row import Contestant, Peers, Row, Run


def all_rows() -> tuple[Row, ...]:
    """Of every module in `rows/`, in the order of their names."""
    found: list[Row] = []
    for module in sorted(one.name for one in pkgutil.iter_modules(rows_package.__path__)):
        found += importlib.import_module(f"{rows_package.__name__}.{module}").ROWS
    names = [row.name for row in found]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two rows are called {', '.join(sorted(doubled))}")
    return tuple(found)


def chosen(rows: Sequence[Row], names: Sequence[str]) -> tuple[Row, ...]:
    """Those called so, or whose name begins so (`append` chooses `append.facts`); none named: all.

    Raises:
        LookupError: a name chooses nothing.
    """
    if not names:
        return tuple(rows)
    for name in names:
        if not any(_is_called(row, name) for row in rows):
            raise LookupError(
                f"no row is called {name}; there are {', '.join(r.name for r in rows)}"
            )
    return tuple(row for row in rows if any(_is_called(row, name) for name in names))


def families(rows: Iterable[Row]) -> list[tuple[Row, ...]]:
    """Rows whose names have their first word in common, in the order of the first of each.

    They stand on the same filled databases, so they share servers and a process. Others do not: a
    process that has measured much is slower than a fresh one, by up to a fifth.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.name.partition(".")[0], []).append(row)
    return [tuple(family) for family in found.values()]


async def measure_each(
    bench: Bench,
    rows: Sequence[Row],
    *,
    peers: Peers,
    said: Callable[[Row, Run | None], None],
    broke: Callable[[Row, Exception], None],
) -> AsyncIterator[tuple[Row, list[Run]]]:
    """Row by row; one that breaks is told of and leaves the others theirs."""
    for row in rows:
        said(row, None)
        try:
            runs = await measure(bench, row, peers=peers, said=partial(said, row))
        except Exception as error:  # noqa: BLE001  # whatever it is, the hour of the others counts
            broke(row, error)
        else:
            yield row, runs


async def measure(
    bench: Bench, row: Row, *, peers: Peers, said: Callable[[Run], None]
) -> list[Run]:
    """Every contestant in turn, round after round; a disturbed run once more at the end."""
    measured: list[Run] = []
    async with AsyncExitStack() as opened:
        contestants = list(await opened.enter_async_context(row.contestants(bench)))
        if row.name in peers:
            contestants += await opened.enter_async_context(peers[row.name](bench))
        disturbed: list[Contestant] = []
        for _ in range(min(bench.runs, row.runs or bench.runs)):
            for contestant in contestants:
                run = await contestant()
                measured.append(run)
                said(run)
                if run.cost.other > MOST_OTHER:
                    disturbed.append(contestant)
        for contestant in disturbed:
            run = await contestant()
            measured.append(run)
            said(run)
    return measured


def _is_called(row: Row, name: str) -> bool:
    return row.name == name or row.name.startswith(f"{name}.")
