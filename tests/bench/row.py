"""What a benchmark is here: rows, each a figure to reach, beside its ceiling and its peers.

A row is opened once on the servers of the run and yields its contestants: Kith's own code first,
then the ceiling (the same SQL, the same batches, by the bare driver). The harness calls them in
turn (A B A B), adds the peers of the row with `PEERS=1`, repeats what other processes disturbed,
and writes each row down as soon as it is measured. A module in `rows/` exports `ROWS`:

    @asynccontextmanager
    async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = bench.size(200_000, quick=10_000)
        batches = [facts[n : n + 100] for n in range(0, events, 100)]  # made before it is timed

        async def kith() -> Run:
            async with contacts_on(bench) as placed:  # a fresh database: each run starts alike
                core = placed.core
                await mint(core.pool, customers)
                async with bench.timed() as timed:
                    for batch in batches:
                        await core.log.append(facts=batch)
                correct = await core.pool.fetchval("select count(*) from log") == events
            return timed.run("kith", "Log.append", events=events, correct=correct)

        async def bare() -> Run: ...  # the same with timed.run("ceiling", "bare asyncpg", ...)

        yield kith, bare

    ROWS = (
        Row("append.facts", does="facts appended in batches of 100", contestants=contestants,
            bars=(of_ceiling(0.7), at_least(30_000, "events/s")), keys="Zipf",
            reference="pyeventsourcing 28k to 31k",
            promises={"Log.append": "durable, once", "bare asyncpg": "the same statement"}),
    )

Names are dotted and `ROWS=append` chooses all that begin so; each key pattern is a row of its own
(`fold.zipf`, `fold.unique`). What `timed` saw of time, CPU, memory and other processes goes into
the run; `Run.figures` holds what else was measured (bytes, seconds until something), and a bar may
name it. Processes that belong to the product are watched (`with bench.watch(worker=pid)`): their
CPU and peak memory are then columns of their own and not the client's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.bench.bench import Bench

Kind = Literal["kith", "ceiling", "peer"]
Setting = str | int | float | bool
KILL_AFTER = 0.45
"""Where there is a kill in the middle, Kith's or a peer's: of the events."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Of an open loop: each from the moment it was due, whether or not it could be sent then."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float  # how late the generator itself was; large: the figures say nothing


@dataclass(frozen=True, slots=True)
class Cost:
    """What the machine did while a run was timed."""

    seconds: float
    cpu_seconds: Mapping[str, float]  # by part: client, postgres, kafka, and what was watched
    rss_mb: Mapping[str, float]  # peaks; of postgres what it had at the end, shared pages once
    other: float  # the share of the machine that went to processes that are not ours


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one contestant."""

    kind: Kind
    who: str
    events: int
    cost: Cost
    latency: Latency | None = None
    correct: bool | None = None  # sum and count against the oracle; None: nothing to compare
    figures: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def was_killed(self) -> bool:
        return "back_s" in self.figures

    def figure(self, name: str) -> float | None:
        """`per_second`, `seconds`, a field of the latency, `cpu.<part>` (seconds a million events),
        `rss_mb.<part>`, or one of `figures`; None where this run has none of that name."""
        part = name.partition(".")[2]
        if name in self.figures:
            return self.figures[name]
        if name == "per_second":
            return self.events / self.cost.seconds
        if name == "seconds":
            return self.cost.seconds
        if name.startswith("cpu."):
            spent = self.cost.cpu_seconds.get(part)
            return None if spent is None or not self.events else spent / self.events * 1e6
        if name.startswith("rss_mb."):
            return self.cost.rss_mb.get(part)
        return None if self.latency is None else getattr(self.latency, name, None)


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure to reach: as such, or as a multiple of the ceiling's or a peer's."""

    limit: float
    unit: str
    figure: str
    better: Literal["more", "less"]
    over: str | None = None  # "ceiling", Kith's "first" contestant, or a peer by name
    judges: Literal["first", "last"] = "first"  # which of several of Kith's own

    @property
    def over_peer(self) -> bool:
        return self.over not in {None, "ceiling", "first"}


def at_least(limit: float, unit: str, *, figure: str = "per_second") -> Bar:
    return Bar(limit, unit, figure, "more")


def at_most(limit: float, unit: str, *, figure: str) -> Bar:
    return Bar(limit, unit, figure, "less")


def of_ceiling(share: float, *, figure: str = "per_second") -> Bar:
    return Bar(share, "of the ceiling", figure, "more", over="ceiling")


def times_peer(times: float, peer: str, *, figure: str = "per_second") -> Bar:
    """At least so many times what the peer of that name reaches; judged where it was measured.

    Where the names of several begin with it (`pyeventsourcing`), they are its modes: the best one.
    """
    return Bar(times, f"times {peer}", figure, "more", over=peer)


Contestant = Callable[[], Awaitable[Run]]
"""One measured run, with its own preparation; called several times."""

Contestants = Callable[["Bench"], AbstractAsyncContextManager[Sequence[Contestant]]]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of DESIGN's table of figures, or one that explains such a line."""

    name: str
    does: str
    contestants: Contestants
    bars: tuple[Bar, ...] = ()
    figure: str = "per_second"  # the one its table shows and the ceiling is compared in
    unit: str = "events/s"
    reference: str = ""  # what others reached where the bar was set
    keys: str = ""  # the key pattern
    promises: Mapping[str, str] = field(default_factory=dict)  # see `promised`
    runs: int | None = None  # where one is long: fewer than the usual number
    no_ceiling: str = ""  # why there is none to measure


def promised(promises: Mapping[str, str], who: str) -> str:
    """What a contestant guarantees, told by its name or, for several, by how their names begin."""
    told = [name for name in promises if who.startswith(name)]
    return promises[max(told, key=len)] if told else ""


Peers = Mapping[str, Contestants]
"""`PEERS` in `peers/rows.py`: by name of the row, who runs beside Kith (kind "peer")."""
