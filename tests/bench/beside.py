"""The part of the page that shows Kith beside the peers of one run."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.judging import of, summaries
from tests.bench.peers.promises import PROMISES
from tests.bench.results import Record
from tests.bench.row import Row, promised
from tests.bench.words import back, correct, line, number, spent

HEAD = """\
## Beside the peers

Each in its durable mode, in one run with the Kith beside it; of a latency, more times is slower.
Back: from the kill until events are folded again, with the start of the process and all timeouts.

| row | who | figure | Kith is | CPU s/M | memory, MB | correct | back, s | promises | measured |
|---|---|---|---|---|---|---|---|---|---|"""


def beside_peers(known: Sequence[tuple[Row, Record]]) -> str:
    """Every contestant of the rows that were measured with peers; empty where none was."""
    if not known:
        return ""
    return "\n".join([HEAD, *(told for row, record in known for told in _row(row, record))]) + "\n"


def promise(row: Row, who: str) -> str:
    """What a contestant guarantees, Kith's own, a ceiling or a peer."""
    return promised(row.promises, who) or promised(PROMISES, who)


def _row(row: Row, record: Record) -> list[str]:
    found = summaries(record.runs, row.figure)
    own = next((one.median for one in found if one.kind == "kith"), None)
    lines: list[str] = []
    for one in found:
        theirs = of(record.runs, one.kind, one.who)
        times = own / one.median if own and one.median and one.kind == "peer" else None
        lines.append(
            line(
                f"`{row.name}`",
                one.who,
                number(row, one),
                "" if times is None else f"{times:.2f} times",
                *spent(theirs),
                correct(theirs),
                back(theirs),
                promise(row, one.who),
                record.measured_at[:10],
            )
        )
    return lines
