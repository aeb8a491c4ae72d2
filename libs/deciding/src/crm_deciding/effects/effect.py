"""An effect: what is to leave because of an event, written down with its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crm_projections.checkpoints import write_behind
from crm_projections.parking import customer_text
from crm_store import metrics

from crm_deciding.effects.intent import Intent, Message, Withdrawal, added, withdrawn
from crm_deciding.following import Following
from crm_deciding.keyed_news import KeyedNews

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg
    from crm_projections.parking import Waiting
    from crm_store.log.entries import Statement
    from crm_store.log.logged import LoggedEvent


class Effect(Following[Message | Withdrawal]):
    """Messages that follow from an event. A rebuild runs none: it has a checkpoint of its own.

    A `Withdrawal` keeps back what has not left yet of earlier events of the same stream.
    """


@dataclass(slots=True)
class Meant:
    """What events come to."""

    intents: list[Intent] = field(default_factory=list[Intent])
    withdrawn: set[UUID] = field(default_factory=set["UUID"])
    history: int = 0

    def withdraw(self, stream_id: UUID) -> None:
        """Nothing is to go because of what was met of this stream so far."""
        self.intents = [one for one in self.intents if one.cause.stream_id != stream_id]
        self.withdrawn.add(stream_id)


class KeyedEffect(KeyedNews[Meant]):
    """An effect as its owner runs it: intents are written, nothing is sent."""

    def __init__(self, pool: asyncpg.Pool, effect: Effect) -> None:
        super().__init__(pool, effect)
        self._effect = effect

    async def begin(self, news: Sequence[LoggedEvent[Any]]) -> Meant:
        del news  # nothing is decided
        return Meant()

    async def write(self, made: Meant, fence: Statement, also: Sequence[Statement]) -> float:
        name = self.model.name
        statements = [*withdrawn(name, made.withdrawn), *added(name, made.intents), *also]
        took = await write_behind(fence, self._pool, statements, durable=bool(made.intents))
        for outcome, count in (("meant", len(made.intents)), ("history", made.history)):
            if count:
                metrics.EFFECTS.labels(effect=name, outcome=outcome).inc(count)
        return took

    async def follow(
        self, entry: LoggedEvent[Any], made: Meant, waiting: Waiting
    ) -> Exception | None:
        try:
            waiting.refuse(customer_text(entry.partition_key))
            messages = self._effect.follows(entry)
        except Exception as error:
            if not waiting.parks(error):
                raise
            return error
        for n, message in enumerate(messages):
            if isinstance(message, Withdrawal):
                made.withdraw(entry.stream_id)
            else:
                made.intents.append(Intent.of(self._effect.id, entry, n, message))
        return None
