"""A reaction as its owner runs it: decided with nothing written, then one short transaction."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from crm_events.errors import DestroyedKeyError, MissingKeyError
from crm_projections.checkpoints import write_behind
from crm_projections.parking import customer_text, is_data_error
from crm_store import metrics
from crm_store.ids import derived_id
from crm_store.log.entries import EventTooLargeError, VersionConflictError
from crm_store.log.retried import MOST_ATTEMPTS

from crm_deciding.draft import CAUSATION, CORRELATION, DEPTH, Cause, Draft
from crm_deciding.keyed_news import KeyedNews
from crm_deciding.refusal import Refusal
from crm_deciding.refused import ERASED, Refused, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    import asyncpg
    from crm_projections.checkpoints import Move
    from crm_projections.parking import Waiting
    from crm_store.clock import Clock
    from crm_store.log.append import Log
    from crm_store.log.entries import Statement
    from crm_store.log.logged import LoggedEvent

    from crm_deciding.decider import Directive
    from crm_deciding.reaction import Reaction

DEEPEST: Final = 16
"""Reactions to reactions, also across services: one more is a loop."""


class TooDeepError(Exception):
    """Reactions follow one from another without an end: this one is not done."""


@dataclass(slots=True)
class Reacted:
    """What events come to: decisions, and what was refused."""

    draft: Draft
    streams: Mapping[UUID, Sequence[LoggedEvent[Any]]]  # those that were asked for
    refused: list[Refused] = field(default_factory=list[Refused])
    acted: int = 0
    history: int = 0


class KeyedReaction(KeyedNews[Reacted]):
    """A reaction: events become commands, and those events of streams of this service."""

    most = 100
    """The streams of so many are appended to in one transaction."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        reaction: Reaction,
        *,
        log: Log,
        clock: Clock,
        mint_id: Callable[[], UUID],
    ) -> None:
        super().__init__(pool, reaction)
        self._reaction = reaction
        self._log = log
        self._clock = clock
        self._mint_id = mint_id

    async def begin(self, news: Sequence[LoggedEvent[Any]]) -> Reacted:
        draft = await Draft.on(self._log, mint_id=self._mint_id)
        asked = {entry.stream_id for entry in news if self._reaction.asks_for_stream(entry)}
        streams: Mapping[UUID, Sequence[LoggedEvent[Any]]] = {}
        if asked:
            streams = await self._log.load_each(asked, opens=False)
        named: list[Directive[Any, Any]] = []
        for entry in news:
            with contextlib.suppress(Exception):  # raised again when it is its turn
                named += self._reaction.follows(entry, streams.get(entry.stream_id, ()))
        await draft.read_ahead(named)
        return Reacted(draft, streams)

    async def write(self, made: Reacted, fence: Statement, also: Sequence[Statement]) -> float:
        draft = made.draft
        notes = noted(self.model.name, made.refused)
        began = time.perf_counter()
        if draft.appends:
            await self._log.append(
                epoch=draft.epoch,
                streams=draft.appends,
                also=[*draft.timers(), *notes, *also],
                fence=fence,
            )
        else:
            if made.refused:
                await self._log.confirm(draft.epoch)
            await write_behind(fence, self._pool, [*notes, *also])
        self._count(made)
        return time.perf_counter() - began

    def blames(self, error: Exception) -> bool:
        if isinstance(error, MissingKeyError):  # to seal with
            return not self._patience.lasts
        return is_data_error(error) or isinstance(error, (EventTooLargeError, DestroyedKeyError))

    def halves(self, error: Exception) -> bool:
        """Others may have changed the stream of one of them alone."""
        return self.blames(error) or isinstance(error, VersionConflictError)

    async def _take(
        self,
        entries: Sequence[LoggedEvent[Any]],
        move: Move,
        refused: dict[str, Exception] | None = None,
    ) -> float:
        for _ in range(MOST_ATTEMPTS - 1 if len(entries) == 1 else 0):
            with contextlib.suppress(VersionConflictError):
                return await super()._take(entries, move, refused)
        return await super()._take(entries, move, refused)

    async def follow(
        self, entry: LoggedEvent[Any], made: Reacted, waiting: Waiting
    ) -> Exception | None:
        draft = made.draft
        before = draft.kept()
        refused: list[Refused] = []
        try:
            waiting.refuse(customer_text(entry.partition_key))
            cause = self._cause(entry)
            stream = made.streams.get(entry.stream_id, ())
            for number, directive in enumerate(self._reaction.follows(entry, stream)):
                id_of = partial(self._id_of, entry.event_id, number)
                decider, stream_id = directive.decider, directive.stream_id
                if await draft.holds(decider, stream_id, id_of(0)):
                    continue  # it came back from Kafka, with its cause or before it
                try:
                    await draft.apply(
                        decider, stream_id, directive.command, cause=replace(cause, id_of=id_of)
                    )
                except Refusal as refusal:
                    refused.append(Refused.of(entry.event_id, refusal))
        except DestroyedKeyError:  # found when it was to be sealed
            draft.restore(before)
            made.refused.append(Refused(entry.event_id, ERASED, "The subject was erased."))
            return None
        except Exception as error:
            draft.restore(before)
            if not waiting.parks(error):
                raise
            return error
        made.refused += refused
        made.acted += 1
        return None

    def _cause(self, entry: LoggedEvent[Any]) -> Cause:
        told = entry.recorded.meta
        depth = _depth(told.get(DEPTH)) + 1
        if depth >= DEEPEST:
            raise TooDeepError(f"{depth} reactions, each to the one before")
        meta = {
            **told,
            CAUSATION: str(entry.event_id),
            CORRELATION: told.get(CORRELATION, str(entry.event_id)),
            DEPTH: str(depth),
        }
        return Cause(self._clock(), meta)

    def _id_of(self, event_id: UUID, directive: int, number: int) -> UUID:
        """Of an event that follows: the same however often this is met."""
        return derived_id(self._reaction.id, str(event_id), str(directive), str(number))

    def _count(self, made: Reacted) -> None:
        for outcome, count in (
            ("acted", made.acted),
            ("refused", len(made.refused)),
            ("history", made.history),
        ):
            if count:
                metrics.REACTIONS.labels(reaction=self.model.name, outcome=outcome).inc(count)


def _depth(told: str | None) -> int:
    """Of a cause: 0 where it says nothing that can be read."""
    return int(told) if told is not None and told.isascii() and told.isdigit() else 0
