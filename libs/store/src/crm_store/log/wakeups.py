"""Telling the tails that rows were written: at once within the process, by NOTIFY to others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

CHANNEL: Final = "log"
NOTIFY_EVERY_SECONDS: Final = 0.01
LISTEN_CHECK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.05
TURN_SECONDS: Final = 0.02
"""From the beginning of a tail's turn to the next: what comes meanwhile costs one page."""


async def next_turn(wake: asyncio.Event, *, began: float, found: bool) -> None:
    """Wait for the next turn of a tail, whose last one `began` by the loop's clock.

    Where that `found` something there may be more; else the tail waits to be woken.
    """
    if found:
        await asyncio.sleep(began + TURN_SECONDS - asyncio.get_running_loop().time())
    else:
        await woken(wake, POLL_SECONDS)


async def woken(wake: asyncio.Event, within_seconds: float) -> None:
    """Wait until `wake` is set, and clear it; or so long, for a wake-up may be lost."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), within_seconds)
    wake.clear()


class Wakeups:
    """Coalesced wake-ups. Losing one costs a tail its poll of 50 ms, no more."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiters: list[asyncio.Event] = []
        self._unsent = asyncio.Event()
        self._connected: list[Callable[[], None]] = []

    def when_connected(self, tell: Callable[[], None]) -> None:
        """Have `tell` called after each connection: the server may be another one than before."""
        self._connected.append(tell)

    def subscribe(self) -> asyncio.Event:
        """An event that is set when rows were written; the waiter clears it."""
        waiter = asyncio.Event()
        self._waiters.append(waiter)
        return waiter

    def signal(self) -> None:
        """Rows were committed."""
        self._wake()
        self._unsent.set()

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Send what was signalled and hear others, until `stop`; reconnects by itself."""
        attempt = 0
        while not stop.is_set():
            beat()
            try:
                async with self._pool.acquire() as connection:
                    await connection.add_listener(CHANNEL, self._heard)
                    attempt = 0
                    for tell in self._connected:
                        tell()
                    await self._send_and_hear(connection, stop, beat)
            except Exception as error:
                if not is_dependency_error(error):
                    raise
                await pause(stop, backoff(attempt))
                attempt += 1

    async def _send_and_hear(
        self, connection: asyncpg.Connection, stop: asyncio.Event, beat: Callable[[], None]
    ) -> None:
        try:
            while not stop.is_set():
                beat()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._unsent.wait(), LISTEN_CHECK_SECONDS)
                if self._unsent.is_set():
                    self._unsent.clear()
                    await connection.execute(f"notify {CHANNEL}")
                    await asyncio.sleep(NOTIFY_EVERY_SECONDS)
                else:
                    await connection.execute("select 1")
        finally:
            if not connection.is_closed():
                await connection.remove_listener(CHANNEL, self._heard)

    def _heard(self, *_: object) -> None:
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            waiter.set()
