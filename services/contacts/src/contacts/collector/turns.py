"""Turns: who decides about the same people goes one by one, all others side by side."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable


class Turns:
    """A lock for each name, for as long as somebody holds it or waits for it.

    It spares work, no more: who comes from another process is met by expected versions.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, names: Iterable[str]) -> AsyncGenerator[bool]:
        """Hold the turn of all these names, taken in one order so that nobody waits in a circle.

        Gives whether another had one of them: what was read before may be otherwise by now.
        """
        waited = False
        async with AsyncExitStack() as held:
            for name in sorted(set(names)):
                lock = self._locks.setdefault(name, asyncio.Lock())
                waited = waited or lock.locked()
                await held.enter_async_context(lock)
            yield waited
