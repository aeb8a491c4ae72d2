"""What follows from news, taken key by key: what reactions and effects have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from crm_projections.keyed import Keyed
from crm_projections.parking import KeptAsideError, customer_text
from crm_store.log.logged import QUARANTINED

from crm_deciding.news import begin_at_the_end, is_news, news_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crm_projections.parking import Tally, Waiting
    from crm_store.log.logged import LoggedEvent


class Followed(Protocol):
    """What events come to; `history` counts those that are no news."""

    history: int


F = TypeVar("F", bound=Followed)


class KeyedNews(Keyed[F]):
    """Its keys are customers, and each event has one."""

    @abstractmethod
    async def begin(self, news: Sequence[LoggedEvent[Any]]) -> F:
        """What no event has come to yet, with what these will be decided on."""

    @abstractmethod
    async def follow(self, entry: LoggedEvent[Any], made: F, waiting: Waiting) -> Exception | None:
        """Add what follows from an event, all of it or nothing; why it cannot be told.

        Raises what is no matter of an event.
        """

    async def make(
        self,
        entries: Sequence[LoggedEvent[Any]],
        *,
        waiting: Waiting,
        tally: Tally | None = None,
        only: str | None = None,
    ) -> F:
        del only  # an event has no other key
        news_from = await news_after(self._pool)
        made = await self.begin([entry for entry in entries if is_news(entry, news_from)])
        for entry in entries:
            customer = customer_text(entry.partition_key)
            if waiting.holds(customer, entry):
                continue
            failure: Exception | None = None
            if not is_news(entry, news_from):
                made.history += 1
            elif entry.type == QUARANTINED:
                failure = KeptAsideError(entry)
            else:
                failure = await self.follow(entry, made, waiting)
            if failure is not None:
                waiting.park(customer, entry, failure)
            if tally is not None:
                tally.note(failure)
        return made

    def keys_of(self, entry: LoggedEvent[Any]) -> list[str]:
        return [customer_text(entry.partition_key)]

    async def register(self) -> None:
        """It begins at the end of the log, or where an earlier version of it stands."""
        await begin_at_the_end(self._pool, self.model.name, self.model.version)
