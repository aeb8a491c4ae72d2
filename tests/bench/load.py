"""Events by a seed, what they must add up to, and load that does not wait for the answer."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple
from uuid import UUID

import orjson

from tests.bench.row import Latency

CUSTOMERS = 50_000
SEED = 7
EVENT_BYTES = 300
FIRST_AT_MS = 1_767_225_600_000  # 2026-01-01
STEP_MS = 26_000
LATE_SHARE = 0.05
LATEST_MS = 3_600_000
KINDS = ("page", "track", "open", "click", "visit", "order")

Keys = Literal["Zipf", "unique"]
"""50,000 customers, Zipf with s = 1; or every event its own customer, the hard one."""


class Sample(NamedTuple):
    """One generated event; `body()` is its JSON, 300 bytes."""

    number: int
    event_id: UUID
    customer_id: UUID
    kind: str
    at_ms: int  # since 1970; 5 % are up to one hour late
    value: int  # cents, so that sums are exact
    note: str  # fills up

    def body(self) -> bytes:
        return orjson.dumps(
            {
                "id": str(self.event_id),
                "customer": str(self.customer_id),
                "type": self.kind,
                "occurred_at": self.at_ms,
                "value": self.value,
                "note": self.note,
            }
        )


NOTHING_NOTED = Sample(0, UUID(int=0), UUID(int=0), "", FIRST_AT_MS, 0, "")
NOTE_BYTES = EVENT_BYTES - len(NOTHING_NOTED.body()) + 1  # the value there has one digit


def samples(count: int, *, keys: Keys = "Zipf", seed: int = SEED) -> Iterator[Sample]:
    """The first `count` events of this seed: the same for every contestant."""
    rng = random.Random(seed)  # noqa: S311  # the same events each time, no secret
    summed = list(itertools.accumulate(1 / rank for rank in range(1, CUSTOMERS + 1)))
    for n in range(count):
        rank = bisect.bisect(summed, rng.random() * summed[-1]) if keys == "Zipf" else n
        late = rng.randrange(LATEST_MS) if rng.random() < LATE_SHARE else 0
        kind, cents = rng.choice(KINDS), rng.randrange(10_000)
        room = NOTE_BYTES - len(kind) - len(str(cents))
        yield Sample(
            number=n,
            event_id=UUID(int=rng.getrandbits(128), version=4),
            customer_id=customer(rank),
            kind=kind,
            at_ms=FIRST_AT_MS + n * STEP_MS - late,
            value=cents,
            note=f"{rng.getrandbits(4 * room):0{room}x}",
        )


@cache
def customer(rank: int) -> UUID:
    """The customer of that rank: a UUIDv7, in the order of the ranks, as if minted in it."""
    scattered = rank * 0x9E3779B97F4A7C15 % 2**62
    return UUID(int=(FIRST_AT_MS - 1_000_000_000 + rank) << 80 | 7 << 76 | 2 << 62 | scattered)


@dataclass(frozen=True, slots=True)
class Total:
    """Of one customer."""

    count: int
    cents: int


def totals(events: Iterable[Sample]) -> dict[UUID, Total]:
    """The oracle: what any engine must have counted and summed, by customer."""
    counted: dict[UUID, tuple[int, int]] = {}
    for one in events:
        count, cents = counted.get(one.customer_id, (0, 0))
        counted[one.customer_id] = (count + 1, cents + one.value)
    return {who: Total(count, cents) for who, (count, cents) in counted.items()}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def latency(seconds: Iterable[float], late_seconds: Iterable[float]) -> Latency:
    """Percentiles of what was measured, and how late the generator itself was."""
    took, late = sorted(seconds), sorted(late_seconds)
    return Latency(
        count=len(took),
        p50_ms=percentile(took, 0.50) * 1e3,
        p95_ms=percentile(took, 0.95) * 1e3,
        p99_ms=percentile(took, 0.99) * 1e3,
        max_ms=took[-1] * 1e3,
        late_p99_ms=percentile(late, 0.99) * 1e3,
    )


async def open_loop(
    send: Callable[[int, float], Awaitable[None]],
    *,
    rate: float,
    seconds: float,
    until: asyncio.Event | None = None,
) -> list[float]:
    """Begin `send(n, due)` at each due time, however long earlier ones take; how late each began.

    For so many seconds, or less if `until` is set meanwhile.

    `due` is of `time.perf_counter`: a latency is counted from it, so a stall is charged to every
    event that it made wait (no coordinated omission). Returns when all have ended; the first error
    of any ends it.
    """
    count, begun = int(rate * seconds), time.perf_counter()
    late: list[float] = []
    async with asyncio.TaskGroup() as group:
        for n in range(count):
            if until is not None and until.is_set():
                break
            due = begun + n / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            late.append(max(0.0, time.perf_counter() - due))
            group.create_task(_begun(send, n, due))
    return late


async def _begun(send: Callable[[int, float], Awaitable[None]], n: int, due: float) -> None:
    await send(n, due)
