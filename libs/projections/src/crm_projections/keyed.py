"""One model as its owner runs it, key by key: what cannot be taken parks, the rest goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import structlog
from crm_events.errors import MissingKeyError
from crm_store import metrics

from crm_projections.around import fold_around
from crm_projections.checkpoints import write_behind
from crm_projections.pages import PAGE_ROWS
from crm_projections.parking import PARKED, Tally, Waiting, is_data_error, key_text
from crm_projections.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from crm_store.log.entries import Statement
    from crm_store.log.logged import LoggedEvent

    from crm_projections.checkpoints import Move
    from crm_projections.model import KeyedModel, Projection

P = TypeVar("P")

_logger: Final = structlog.stdlib.get_logger(__name__)


class Keyed(ABC, Generic[P]):
    """`parked` is in step with the model's checkpoint. P: what is made of events, to be written."""

    most: ClassVar[int] = PAGE_ROWS
    """Events that are taken at once."""

    def __init__(self, pool: asyncpg.Pool, model: KeyedModel) -> None:
        self.model = model
        self.parked: set[str] = set()
        self._pool = pool
        self._tally = Tally()
        self._patience = Patience()

    async def look(self) -> None:
        """Read which keys are parked: another owner may have been at work."""
        rows = await self._pool.fetch(PARKED, self.model.name, self.model.version)
        self.now_parked({row["key"] for row in rows})

    def now_parked(self, keys: set[str]) -> None:
        self.parked = keys
        metrics.PARKED_KEYS.labels(projection=self.model.name).set(len(keys))

    async def register(self) -> None:
        """Give the model its checkpoint, if it is to begin elsewhere than the log does."""

    @abstractmethod
    async def make(
        self,
        entries: Sequence[LoggedEvent[Any]],
        *,
        waiting: Waiting,
        tally: Tally | None = None,
        only: str | None = None,
    ) -> P:
        """What events come to; what parks, and what waits, goes into `waiting`.

        `only`: make of them what concerns this key alone.

        Raises what is no matter of an event (`Waiting.parks`), and TooManyFailuresError where
        there is a tally.
        """

    @abstractmethod
    async def write(self, made: P, fence: Statement, also: Sequence[Statement]) -> float:
        """Write what was made if `fence` changes its one row, all or nothing; seconds it took.

        Raises an error with SQLSTATE KM001 when it changes none.
        """

    @abstractmethod
    def keys_of(self, entry: LoggedEvent[Any]) -> list[str]:
        """The keys that an event concerns, as they are parked."""

    async def advance(self, entries: Sequence[LoggedEvent[Any]], move: Move) -> float:
        """Take events, at least one, and move; seconds of the longest write.

        What PostgreSQL refuses is found by halves, in transactions of their own: an error leaves
        the model somewhere on the way.

        Raises TooManyFailuresError, what is no matter of an event, and a lost compare-and-set.
        """
        alone = len(entries) == 1
        if len(entries) <= self.most:
            try:
                return await self._take(entries, move)
            except Exception as error:
                if not (self.blames(error) if alone else self.halves(error)):
                    raise
                if alone:
                    return await self._take_refused(entries[0], move, error)
        middle = len(entries) // 2
        last = entries[middle - 1]
        half = replace(move, end=last.position, recorded_at=last.recorded_at)
        first = await self.advance(entries[:middle], half)
        rest = replace(move, start=last.position)
        return max(first, await self.advance(entries[middle:], rest))

    def blames(self, error: Exception) -> bool:
        """Is it what comes of one event that cannot be written?"""
        return is_data_error(error)

    def halves(self, error: Exception) -> bool:
        """May a part of what was to be written go through?"""
        return self.blames(error)

    async def _take(
        self,
        entries: Sequence[LoggedEvent[Any]],
        move: Move,
        refused: dict[str, Exception] | None = None,
    ) -> float:
        tally, model = self._tally.copy(), self.model
        waiting = Waiting(set(self.parked), refused or {}, patient=self._patience.lasts)
        try:
            made = await self.make(entries, waiting=waiting, tally=tally)
            took = await self.write(made, move.fence, waiting.statements(model.name, model.version))
        except MissingKeyError:
            self._patience.missed()
            raise
        self._patience.settled(gave_up=any(one.awaits for one in waiting.failures))
        self._tally = tally
        self.now_parked(waiting.keys)
        for failure in waiting.failures:
            metrics.PARKED_TOTAL.labels(projection=model.name).inc()
            tell = _logger.warning if failure.awaits else _logger.error
            tell("projection.parked", projection=model.name, key=failure.key, reason=failure.reason)
        return took

    async def _take_refused(
        self,
        entry: LoggedEvent[Any],
        move: Move,
        error: Exception,
    ) -> float:
        """PostgreSQL refuses what comes of an event: for one of its keys, or else for all."""
        keys = self.keys_of(entry)
        suspects = [[key] for key in keys] if len(keys) > 1 else []
        for those in [*suspects, keys]:
            try:
                refused = dict.fromkeys(those, error)
                return await self._take([entry], move, refused)
            except Exception as again:
                if not self.blames(again):
                    raise
        raise error


class KeyedFold(Keyed["list[Statement]"]):
    """A projection: events are folded into its rows."""

    def __init__(self, pool: asyncpg.Pool, projection: Projection[Any]) -> None:
        super().__init__(pool, projection)
        self._projection = projection

    async def make(
        self,
        entries: Sequence[LoggedEvent[Any]],
        *,
        waiting: Waiting,
        tally: Tally | None = None,
        only: str | None = None,
    ) -> list[Statement]:
        return await fold_around(
            self._pool, self._projection, entries, waiting=waiting, tally=tally, only=only
        )

    async def write(
        self, made: list[Statement], fence: Statement, also: Sequence[Statement]
    ) -> float:
        return await write_behind(fence, self._pool, [*made, *also])

    def keys_of(self, entry: LoggedEvent[Any]) -> list[str]:
        return [key_text(key) for key in self._projection.keys_of(entry)]
