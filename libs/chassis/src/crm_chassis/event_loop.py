"""The event loop that every process of a service runs in, a command as well as a worker."""

from __future__ import annotations

import asyncio
import gc
from typing import Final

import uvloop

GARBAGE_AFTER: Final = 100_000
"""Objects made before the youngest are searched for cycles: some 10 MB."""


def event_loop() -> asyncio.Runner:
    """A runner for the process' one loop. What was made before it stays to the end."""
    # Events pass through as tuples, without cycles: looking for garbage after every 700 objects
    # takes a quarter of a worker's time, and after 20,000, while a batch is on its way, an eighth.
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER, 20, 50)
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
