"""The part of the page that shows Kith beside the peers of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.judging import Summary, of, summaries
from tests.bench.peers.promises import PROMISES
from tests.bench.peers.rows import ENGINES, PEERS
from tests.bench.results import Record
from tests.bench.row import Row, promised
from tests.bench.words import back, correct, line, number, spent

HEAD = """\
## Beside the peers

Each in its durable mode, in one run with the Kith beside it; of a latency, more times is slower.
Who was killed is held against the Kith that was killed. Its figure counts what it did from then on,
also what it had done before and not committed.
Back: from the kill until events are taken again, with the start of the process and all timeouts.

| row | who | figure | Kith is | CPU s/M | memory, MB | correct | back, s | promises | measured |
|---|---|---|---|---|---|---|---|---|---|"""


def beside_peers(rows: Sequence[Row], with_peers: Mapping[str, Record]) -> str:
    """Every contestant of the rows that were measured with peers, and which engines were not.

    Empty where none was.
    """
    known = [
        (row, with_peers[row.name]) for row in rows if row.name in with_peers and row.name in PEERS
    ]
    if not known:
        return ""
    lines = [told for row, record in known for told in _row(row, record)]
    return "\n".join([HEAD, *lines, *absent(rows, with_peers)]) + "\n"


def absent(rows: Sequence[Row], with_peers: Mapping[str, Record]) -> list[str]:
    """A paragraph that names the engines that did not run beside a row; none where all did."""
    lines: list[str] = []
    for row in rows:
        record = with_peers.get(row.name)
        ran = () if record is None else [run.who for run in record.runs if run.kind == "peer"]
        for engine in ENGINES.get(row.name, ()):
            if not any(who.startswith(engine.name) for who in ran):
                needs = f"; it needs {engine.needs}" if engine.needs else ""
                lines.append(f"- `{row.name}`: {engine.name}{needs}")
    return ["\nNot measured:\n", *lines] if lines else []


def promise(row: Row, who: str) -> str:
    """What a contestant guarantees, Kith's own, a ceiling or a peer."""
    return promised(row.promises, who) or promised(PROMISES, who)


def _row(row: Row, record: Record) -> list[str]:
    found = summaries(record.runs, row.figure)
    lines: list[str] = []
    for one in found:
        theirs = of(record.runs, one.kind, one.who)
        own = _own(record, found, killed=theirs[0].was_killed)
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


def _own(record: Record, found: Sequence[Summary], *, killed: bool) -> float | None:
    """Kith's figure, killed or undisturbed; None where no such Kith ran."""
    return next(
        (
            one.median
            for one in found
            if one.kind == "kith" and of(record.runs, one.kind, one.who)[0].was_killed == killed
        ),
        None,
    )
