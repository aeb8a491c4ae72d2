"""Telling an operator how far something is: a bar in a terminal, else a log line now and then."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.progress import Task

TELL_EVERY_S: Final = 5.0

_logger = structlog.stdlib.get_logger(__name__)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} rows/s")


@contextmanager
def telling(what: str) -> Generator[Callable[[int, int], None]]:
    """What is to be called with how many rows are done, and how many there are to do."""
    console = Console(stderr=True)
    if not console.is_terminal or not sys.stderr.isatty():
        yield Told(what)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(),
        _RateColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, of: bars.update(bar, completed=done, total=of)


class Told:
    """The same as log lines: rows, percent, rows a second since it began, seconds left."""

    def __init__(self, what: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._monotonic = monotonic
        self._began: tuple[float, int] | None = None
        self._told_at = float("-inf")

    def __call__(self, done: int, of: int) -> None:
        now = self._monotonic()
        began, first = self._began = self._began or (now, done)
        if now - self._told_at < TELL_EVERY_S:
            return
        self._told_at = now
        rate = (done - first) / (now - began) if now > began else 0.0
        _logger.info(
            "rebuild.progress",
            what=self._what,
            rows=done,
            of_rows=of,
            percent=round(100 * done / of, 1) if of else 100.0,
            rows_per_second=round(rate),
            seconds_left=round((of - done) / rate) if rate else None,
        )
