"""Folding read models beside those that are at work: what, and for how long it is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from crm_store.errors import backoff

from crm_projections.projector import interrupts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crm_store.log.append import Log
    from crm_store.log.position import Position

    from crm_projections.model import ReadModel
    from crm_projections.projector import Projector

TRIES_IN_A_ROW: Final = 60
"""Of a turn, while servers are away: with the longest wait about 45 s."""

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Folded:
    """What a service folds: its read models, and the log that they are folded from.

    Reactions, effects and timers are none of them, so nothing that builds read models runs any.
    """

    log: Log
    models: Sequence[ReadModel]


Tell = Callable[[int, int], None]
"""Is told how many rows of the log are folded, and how many are to be."""


async def fold_on(projector: Projector, *, until: Position) -> bool:
    """One turn, tried again for 45 s while servers are away or were begun anew. Is there more?"""
    attempt = 0
    while True:
        try:
            return await projector.turn(until=until)
        except Exception as error:
            if not interrupts(error) or attempt >= TRIES_IN_A_ROW:
                raise
            await projector.forget()
            _logger.warning("rebuild.waiting", because=type(error).__name__)
            await asyncio.sleep(backoff(attempt))
            attempt += 1
