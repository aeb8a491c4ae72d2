"""Waiting for something that may take long, and showing signs of life meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

BEAT_EVERY_S: Final = 0.5
CANCEL_LIMIT_S: Final = 5.0


class StoppedError(Exception):
    """`stop` was set before what was waited for came."""


async def beating(
    coroutine: Coroutine[Any, Any, T],
    *,
    beat: Callable[[], None],
    stop: asyncio.Event | None = None,
) -> T:
    """Await a coroutine, beating. With `stop`, it is cancelled and StoppedError raised when set.

    Raises what the coroutine raises.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=BEAT_EVERY_S)
            beat()
            if stop is not None and stop.is_set() and not task.done():
                raise StoppedError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_LIMIT_S)
