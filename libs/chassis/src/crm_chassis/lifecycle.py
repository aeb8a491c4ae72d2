"""The life of a process: loops that are kept running, watched, and stopped in good order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from crm_store import metrics
from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error

from crm_chassis.event_loop import event_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine

_logger = structlog.stdlib.get_logger(__name__)

LONGEST_STOP_S: Final = 12.0
"""From the signal until loops are cancelled; closing connections follows, all within 15 s."""

STALL_S: Final = 30.0
BEAT_S: Final = 1.0

SETTLED_S: Final = 10.0
"""A loop that ran for so long begins its back-off anew."""


Prepare = Callable[..., Awaitable[bool]]
"""`await prepare(stop, beat=...)`: True when done, False if `stop` was set first."""


class Loop(Protocol):
    """Runs until `stop` is set, finishing what it has begun; may be called again after an outage.

    It calls `beat` at least once a second while it makes progress or waits for something that
    is away, so that a wedged loop is told from an idle one.
    """

    def __call__(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> Awaitable[None]: ...


@dataclass(slots=True)
class _Watched:
    name: str
    run: Loop
    at_once: bool
    beaten_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        self.beaten_at = time.monotonic()

    def age_seconds(self) -> float:
        return time.monotonic() - self.beaten_at


class Supervisor:
    """Keeps loops running.

    One that fails by an outage is begun again after a jittered wait. One that fails by anything
    else is a bug or bad data nobody parked: it is told loudly and all others are stopped in
    good order, for a process that runs in part is worse than one that an operator sees restart.
    """

    def __init__(
        self,
        *,
        prepare: Prepare | None = None,
        stall_seconds: float = STALL_S,
        shutdown_seconds: float = LONGEST_STOP_S,
    ) -> None:
        """`prepare` comes before all loops but those added `at_once`: see `add`."""
        self._prepare = prepare
        self._prepared = asyncio.Event()
        self._stall_seconds = stall_seconds
        self._shutdown_seconds = shutdown_seconds
        self._loops: list[_Watched] = []
        self._failed: list[str] = []

    def add(self, name: str, run: Loop, *, at_once: bool = False) -> None:
        """Have a loop run. Names are unique; all loops are added before `run`.

        `at_once`: it does not wait for what is prepared. HTTP does not, so that probes are
        answered while the database is still away.
        """
        watched = _Watched(name, run, at_once=at_once or self._prepare is None)
        self._loops.append(watched)
        metrics.LOOP_BEAT_AGE_SECONDS.labels(loop=name).set_function(watched.age_seconds)

    def stalled(self) -> tuple[str, ...]:
        """Names of the loops that have shown no sign of life for too long."""
        return tuple(loop.name for loop in self._loops if loop.age_seconds() > self._stall_seconds)

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(self._failed)

    async def run(self, stop: asyncio.Event) -> bool:
        """Run all loops until `stop`, or until one fails. True if each left by itself, unfailed.

        Those that have not left `shutdown_seconds` after `stop` are cancelled.
        """
        tasks: list[asyncio.Task[None]] = []
        if self._prepare is not None:
            self.add("prepare", self._prepare_once, at_once=True)
        for loop in self._loops:
            loop.beat()
            tasks.append(asyncio.create_task(self._keep(loop, stop), name=loop.name))
        try:
            await stop.wait()
            _logger.info("process.stopping")
            _, late = await asyncio.wait(tasks, timeout=self._shutdown_seconds)
            for task in late:
                _logger.error("loop.cancelled", loop=task.get_name())
            return not late and not self._failed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1.0)

    async def _prepare_once(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        if not self._prepared.is_set() and self._prepare is not None:
            if not await self._prepare(stop, beat=beat):
                return
            self._prepared.set()
            _logger.info("process.prepared")
        while not await pause(stop, BEAT_S):
            beat()

    async def _wait_prepared(self, loop: _Watched, stop: asyncio.Event) -> None:
        while not stop.is_set() and not self._prepared.is_set():
            loop.beat()
            await pause(self._prepared, BEAT_S)

    async def _keep(self, loop: _Watched, stop: asyncio.Event) -> None:
        attempt = 0
        if not loop.at_once:
            await self._wait_prepared(loop, stop)
        while not stop.is_set():
            loop.beat()
            began = time.monotonic()
            try:
                await loop.run(stop, beat=loop.beat)
            except (Exception, asyncio.CancelledError) as error:  # nothing is above
                if _is_ours(error):
                    raise
                # Else a library's own has strayed here: the loop begins anew, as by an outage.
                if not isinstance(error, asyncio.CancelledError) and not is_dependency_error(error):
                    self._fail(loop, stop, error)
                    return
                metrics.LOOP_RESTARTS.labels(loop=loop.name).inc()
                _logger.warning("loop.waits", loop=loop.name, because=type(error).__name__)
            else:
                if not stop.is_set():
                    self._fail(loop, stop, RuntimeError("the loop ended unasked"))
                return
            attempt = 0 if time.monotonic() - began > SETTLED_S else attempt + 1
            await pause(stop, backoff(attempt))

    def _fail(self, loop: _Watched, stop: asyncio.Event, error: BaseException) -> None:
        metrics.LOOP_FAILURES.labels(loop=loop.name).inc()
        _logger.critical("loop.failed", loop=loop.name, exc_info=error)
        self._failed.append(loop.name)
        stop.set()


def _is_ours(error: BaseException) -> bool:
    """Is it a cancellation of the task that runs here?"""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def run_until_signalled(main: Callable[[asyncio.Event], Coroutine[Any, Any, bool]]) -> int:
    """Run `main` with an event that SIGTERM and SIGINT set; the process' exit code.

    0 where `main` says that all ended well, else 1.
    """

    async def signalled() -> bool:
        stop = asyncio.Event()
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, stop.set)
        return await main(stop)

    with event_loop() as runner:
        return 0 if runner.run(signalled()) else 1
