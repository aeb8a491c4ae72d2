"""A loop of turns that only the holder of a lease takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import structlog

from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from crm_store.lease import Lease

WITHOUT_LEASE_SECONDS: Final = 0.5

_logger = structlog.stdlib.get_logger(__name__)


class Turn(Protocol):
    """Does what is due; is there more at once?"""

    async def __call__(self, *, beat: Callable[[], None]) -> bool: ...


async def take_turns(  # noqa: PLR0913  # each named at the call
    name: str,
    turn: Turn,
    *,
    lease: Lease,
    every_s: float,
    stop: asyncio.Event,
    beat: Callable[[], None],
) -> None:
    """Take turns until `stop`, which ends after the turn it is in; outages are waited for.

    `name` is of the loop, for its log lines.
    """
    attempt = 0
    while not stop.is_set():
        beat()
        if not await lease.wait_held(WITHOUT_LEASE_SECONDS):
            continue
        try:
            more = await turn(beat=beat)
            attempt = 0
        except Exception as error:
            if not is_dependency_error(error):
                raise
            _logger.warning("turn.interrupted", loop=name, error=type(error).__name__)
            await pause(stop, backoff(attempt))
            attempt += 1
            continue
        if not more:
            await pause(stop, every_s)
