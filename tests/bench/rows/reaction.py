"""From the commit of a cause to the commit of what follows, by the chassis' reactions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from crm_deciding.draft import CAUSATION, CORRELATION, DEPTH
from crm_store.clock import utc_now
from crm_store.ids import derived_id, new_id
from crm_store.log.append import APPEND_FACTS, APPEND_STREAMS
from crm_store.log.entries import Fact, NewEvent, Statement
from crm_store.log.position import LAST, START, Position, bounds
from crm_store.log.statements import followed
from crm_store.log.tail import PAGE, position_of
from crm_store.partitioning import partition_of

from tests.bench.bench import Bench
from tests.bench.checkpoint import moved, register
from tests.bench.load import customer, latency, open_loop
from tests.bench.product import FACTS
from tests.bench.reacting import (
    CAUSES,
    NAME,
    REACTION,
    Followed,
    Happened,
    Placed,
    placed_on,
)
from tests.bench.row import Contestant, Kind, Row, Run

RATE = 200
SECONDS, WARM_SECONDS, QUICK_SECONDS = 20, 3, 3
CUSTOMERS = 500
PAGE_ROWS = 5_000
POLL_S = 0.05
ENDS_WITHIN_S = 30
LOOK_EVERY_S = 0.05
TOLD_OF = f"""
select count(*) as caused, count(f.gp) as followed,
       (select count(*) from log where type = '{Followed.type}') as every
from log c left join log f on f.type = '{Followed.type}'
    and f.meta ->> 'causationid' = c.event_id::text
    and f.data ->> 'number' = c.data ->> 'number'
where c.type = '{Happened.type}'
"""  # noqa: S608  # constants only
Append = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    async def kith() -> Run:
        async with placed_on(bench) as placed, placed.reacting():

            async def append(n: int) -> None:
                new = NewEvent(Happened(number=n), event_of(n), utc_now(), customer(n % CUSTOMERS))
                await placed.log.append(facts=[Fact(event_of(n), new)])

            return await measured(bench, placed, "kith", "KeyedReaction", append)

    async def bare() -> Run:
        async with placed_on(bench) as placed:
            woken = asyncio.Event()
            following = asyncio.create_task(follow(placed, woken))

            async def append(n: int) -> None:
                await placed.pool.fetch(APPEND_FACTS, *cause(n))
                woken.set()

            try:
                return await measured(bench, placed, "ceiling", "bare asyncpg", append)
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following

    yield kith, bare


async def measured(bench: Bench, placed: Placed, kind: Kind, who: str, append: Append) -> Run:
    """Causes in an open loop, until everything has followed."""
    seconds = WARM_SECONDS + bench.size(SECONDS, quick=QUICK_SECONDS)
    committed: dict[int, float] = {}
    seen = placed.log.seen.at

    async def send(n: int, _: float) -> None:
        await append(n)
        committed[n] = time.perf_counter()

    async with bench.timed() as timed:
        late = await open_loop(send, rate=RATE, seconds=seconds)
        async with asyncio.timeout(ENDS_WITHIN_S):
            while len(seen) < len(committed):
                await asyncio.sleep(LOOK_EVERY_S)
    counts = await placed.pool.fetchrow(TOLD_OF, timeout=ENDS_WITHIN_S)
    # A consequence may be answered before its cause is: the commit of the one lets the other begin.
    took = [max(0.0, seen[n] - at) for n, at in committed.items() if n >= RATE * WARM_SECONDS]
    return timed.run(
        kind,
        who,
        events=len(took),
        latency=latency(took, late),
        correct=tuple(counts) == (len(committed),) * 3,
        settings={"causes/s": RATE, "in one process with what asks": True},
    )


async def follow(placed: Placed, woken: asyncio.Event) -> None:
    """Read the log's next page and append what follows, with the checkpoint, in one statement."""
    pool, at, kept = placed.pool, START, START
    await register(pool, NAME)
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), POLL_S)
        woken.clear()
        while rows := await pool.fetch(PAGE, *bounds(at, LAST), PAGE_ROWS, [Happened.type]):
            at = position_of(rows[-1])
            # The last row of a page may be a consequence: nothing follows from those.
            causes = [row for row in rows if row["data"] is not None]
            if causes:
                statement = consequences(causes, kept, at)
                await pool.fetch(statement.sql, *statement.args)
                placed.log.seen.saw(orjson.loads(row["data"])["number"] for row in causes)
                kept = at


def event_of(n: int) -> Any:
    return derived_id(FACTS, f"cause {n}")


def cause(n: int) -> tuple[Any, ...]:
    """What the statement of facts is given for one cause."""
    key, now = customer(n % CUSTOMERS), utc_now()
    data = orjson.dumps({"number": n}).decode()
    return (
        1, now, [event_of(n)], [1], [event_of(n)], [Happened.type], [Happened.version], [key],
        [now], [CAUSES.name], [partition_of(key, CAUSES.partitions)], [data], [None],
    )  # fmt: skip


def consequences(causes: Sequence[asyncpg.Record], kept: Position, end: Position) -> Statement:
    """A stream for each cause, and the checkpoint from where it was `kept` to `end`."""
    count, now = len(causes), utc_now()
    ids = [str(row["event_id"]) for row in causes]
    streams = [derived_id(REACTION, one) for one in ids]
    rows = Statement(
        APPEND_STREAMS,
        (
            1, now, streams, [0] * count, [], [], [], streams, [1] * count,
            [new_id() for _ in causes], [Followed.type] * count, [Followed.version] * count,
            [REACTION] * count, [now] * count, [None] * count, [None] * count,
            [row["data"] for row in causes],
            [
                orjson.dumps({CAUSATION: one, CORRELATION: one, DEPTH: "1"}).decode()
                for one in ids
            ],
        ),
    )  # fmt: skip
    move = moved(NAME, 1, start=kept, end=end, recorded_at=now)
    return followed(rows, [], fence=move)


ROWS = (
    Row(
        "reaction",
        does="commit of a cause to commit of what follows from it, 200 causes/s, open loop",
        contestants=contestants,
        figure="p99_ms",
        unit="ms at p99",
        keys="500 customers, every consequence its own stream",
        promises={
            "KeyedReaction": "durable; exactly once, in log order, its checkpoint in the same "
            "transaction; a conflict decided anew",
            "bare asyncpg": "the same page and the same statement; no stream is loaded, nothing "
            "decided, no lease",
        },
        runs=2,
    ),
)
