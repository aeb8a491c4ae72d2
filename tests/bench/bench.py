"""What a row is given: servers, sizes, a meter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.bench.meter import Meter, Timed
from tests.bench.servers import server_pids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from crm_stack.stack import Stack

T = TypeVar("T")


@dataclass
class Bench:
    """One run of the benchmarks on one pair of servers."""

    stack: Stack
    folder: Path  # for what a row writes; goes with the run
    meter: Meter
    runs: int = 3
    quick: bool = False
    growth: int = 1_000_000  # the largest size of the rows about growth
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack)
    _shared: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def on(cls, stack: Stack, folder: Path, *, runs: int, quick: bool, growth: int) -> Self:
        return cls(stack, folder, Meter(server_pids(stack)), runs, quick, growth)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shared.clear()
        await self._opened.aclose()

    async def shared(self, name: str, opening: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """What several rows stand on, a filled database: opened once, for the whole run."""
        if name not in self._shared:
            self._shared[name] = await self._opened.enter_async_context(opening())
        return self._shared[name]

    @property
    def kafka(self) -> str:
        """The bootstrap address."""
        return self.stack.kafka.bootstrap

    def size(self, full: int, *, quick: int) -> int:
        """How many events: `full`, or `quick` with QUICK=1."""
        return quick if self.quick else full

    def timed(self) -> AbstractAsyncContextManager[Timed]:
        """Take time around what is measured, and nothing else."""
        return self.meter.timed()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The URL of a fresh, empty database, dropped afterwards."""
        url = self.stack.fresh_database()
        try:
            yield url
        finally:
            self.stack.drop_database(url)

    @contextmanager
    def watch(self, **parts: int) -> Iterator[None]:
        """These process trees (part=pid) are columns of their own while they run."""
        self.meter.trees |= parts
        try:
            yield
        finally:
            for part in parts:
                del self.meter.trees[part]
