"""Requests in an open loop, one at each due time, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.bench.bench import Bench
from tests.bench.load import latency, open_loop
from tests.bench.row import Kind, Run, Setting

WARM_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Asking:
    """So many a second for so long. Number 0 to `count` - 1; the first ones only warm up."""

    rate: int
    seconds: int
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.rate * (WARM_SECONDS + self.seconds)

    async def run(
        self, bench: Bench, kind: Kind, who: str, ask: Callable[[int], Awaitable[bool]]
    ) -> Run:
        """`ask` says whether the answer was right; correct where each was."""
        took: list[float] = []
        right: list[bool] = []
        warm = self.rate * WARM_SECONDS

        async def begin(n: int, due: float) -> None:
            right.append(await ask(n))
            took.append(time.perf_counter() - due)

        await open_loop(begin, rate=self.rate, seconds=WARM_SECONDS)
        took.clear()
        async with bench.timed() as timed:
            late = await open_loop(
                lambda n, due: begin(warm + n, due), rate=self.rate, seconds=self.seconds
            )
        return timed.run(
            kind,
            who,
            events=len(took),
            latency=latency(took, late),
            correct=all(right),
            settings={"requests/s": self.rate, "seconds": self.seconds, **self.settings},
        )
