"""An effect: what is to leave because of an event, written down with its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crm_chassis import metrics
from crm_chassis.deciding.following import Following
from crm_chassis.deciding.news import begin_at_the_end, is_news, news_after
from crm_chassis.effects.intent import Intent, Message, added
from crm_chassis.log.logged import QUARANTINED
from crm_chassis.projection.checkpoints import write_behind
from crm_chassis.projection.keyed import Keyed
from crm_chassis.projection.parking import KeptAsideError, customer_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from crm_chassis.log.entries import Statement
    from crm_chassis.log.logged import LoggedEvent
    from crm_chassis.projection.parking import Tally, Waiting


class Effect(Following[Message]):
    """Messages that follow from an event. A rebuild runs none: it has a checkpoint of its own."""


@dataclass(slots=True)
class Meant:
    """What events come to."""

    intents: list[Intent] = field(default_factory=list[Intent])
    history: int = 0


class KeyedEffect(Keyed[Meant]):
    """An effect as its owner runs it: intents are written, nothing is sent."""

    def __init__(self, pool: asyncpg.Pool, effect: Effect) -> None:
        super().__init__(pool, effect)
        self._effect = effect

    async def make(
        self,
        entries: Sequence[LoggedEvent[Any]],
        *,
        waiting: Waiting,
        tally: Tally | None = None,
        only: str | None = None,
    ) -> Meant:
        del only  # an effect's keys are customers, and each event has one
        meant = Meant()
        news_from = await news_after(self._pool)
        for entry in entries:
            customer = customer_text(entry.partition_key)
            if waiting.holds(customer, entry):
                continue
            failure = self._mean(entry, meant, waiting, news_from)
            if failure is not None:
                waiting.park(customer, entry, failure)
            if tally is not None:
                tally.note(failure)
        return meant

    async def write(self, made: Meant, fence: Statement, also: Sequence[Statement]) -> float:
        statements = [*added(self.model.name, made.intents), *also]
        took = await write_behind(fence, self._pool, statements, durable=bool(made.intents))
        for outcome, count in (("meant", len(made.intents)), ("history", made.history)):
            if count:
                metrics.EFFECTS.labels(effect=self.model.name, outcome=outcome).inc(count)
        return took

    def keys_of(self, entry: LoggedEvent[Any]) -> list[str]:
        return [customer_text(entry.partition_key)]

    async def register(self) -> None:
        """It begins at the end of the log, or where an earlier version of it stands."""
        await begin_at_the_end(self._pool, self.model.name, self.model.version)

    def _mean(
        self,
        entry: LoggedEvent[Any],
        meant: Meant,
        waiting: Waiting,
        news_from: Mapping[tuple[str, int], int | None],
    ) -> Exception | None:
        """Note what is to leave because of an event; why nobody can tell."""
        if not is_news(entry, news_from):
            meant.history += 1
            return None
        if entry.type == QUARANTINED:
            return KeptAsideError(entry)
        try:
            waiting.refuse(customer_text(entry.partition_key))
            messages = self._effect.follows(entry)
        except Exception as error:
            if not waiting.parks(error):
                raise
            return error
        meant.intents += [
            Intent.of(self._effect.id, entry.event_id, entry.partition_key, n, message)
            for n, message in enumerate(messages)
        ]
        return None
