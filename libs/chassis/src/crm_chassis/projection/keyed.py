"""Folding one projection, a fold per key: what cannot be folded parks, the rest goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from crm_chassis import metrics
from crm_chassis.projection.around import fold_around
from crm_chassis.projection.parking import PARKED, Tally, Waiting, is_data_error, key_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from crm_chassis.log.logged import LoggedEvent
    from crm_chassis.projection.checkpoints import Move
    from crm_chassis.projection.model import Projection

_logger: Final = structlog.stdlib.get_logger(__name__)


class Keyed:
    """One projection as its owner runs it; `parked` is in step with its checkpoint."""

    def __init__(self, pool: asyncpg.Pool, model: Projection[Any]) -> None:
        self.model = model
        self.parked: set[str] = set()
        self._pool = pool
        self._tally = Tally()

    async def look(self) -> None:
        """Read which keys are parked: another owner may have been at work."""
        rows = await self._pool.fetch(PARKED, self.model.name, self.model.version)
        self.now_parked({row["key"] for row in rows})

    def now_parked(self, keys: set[str]) -> None:
        self.parked = keys
        metrics.PARKED_KEYS.labels(projection=self.model.name).set(len(keys))

    async def advance(
        self,
        entries: Sequence[LoggedEvent[Any]],
        move: Move,
    ) -> float:
        """Fold events, at least one, and move; seconds of the longest write.

        What PostgreSQL refuses is found by halves, in transactions of their own: an error leaves
        the model somewhere on the way.

        Raises TooManyFailuresError, what is no matter of an event, and a lost compare-and-set.
        """
        try:
            return await self._take(entries, move)
        except Exception as error:
            if not is_data_error(error):
                raise
            if len(entries) == 1:
                return await self._take_refused(entries[0], move, error)
        middle = len(entries) // 2
        last = entries[middle - 1]
        half = replace(move, end=last.position, recorded_at=last.recorded_at)
        first = await self.advance(entries[:middle], half)
        rest = replace(move, start=last.position)
        return max(first, await self.advance(entries[middle:], rest))

    async def _take(
        self,
        entries: Sequence[LoggedEvent[Any]],
        move: Move,
        refused: dict[str, Exception] | None = None,
    ) -> float:
        waiting, tally = Waiting(set(self.parked), refused or {}), self._tally.copy()
        model = self.model
        writes = await fold_around(self._pool, model, entries, waiting=waiting, tally=tally)
        told = waiting.statements(model.name, model.version)
        took = await move.write(self._pool, [*writes, *told])
        self._tally = tally
        self.now_parked(waiting.keys)
        for failure in waiting.failures:
            metrics.PARKED_TOTAL.labels(projection=model.name).inc()
            _logger.error(
                "projection.parked", projection=model.name, key=failure.key, reason=failure.reason
            )
        return took

    async def _take_refused(
        self,
        entry: LoggedEvent[Any],
        move: Move,
        error: Exception,
    ) -> float:
        """PostgreSQL refuses what an event makes of its rows: of one of them, or else of all."""
        keys = [key_text(key) for key in self.model.keys_of(entry)]
        suspects = [[key] for key in keys] if len(keys) > 1 else []
        for those in [*suspects, keys]:
            try:
                refused = dict.fromkeys(those, error)
                return await self._take([entry], move, refused)
            except Exception as again:
                if not is_data_error(again):
                    raise
        raise error
