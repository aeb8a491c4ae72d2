"""The durable handling of what arrived: everything of a request in one append, or nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from crm_deciding.refusal import Refusal
from crm_events.errors import BadInputError, DestroyedKeyError
from crm_store.errors import NewEpochError
from crm_store.ids import derived_id
from crm_store.log.entries import EventTooLargeError, Fact, NewEvent
from crm_store.log.retried import retried

from contacts.collector.identity import follow, identifiers_of
from contacts.collector.received import Refused
from contacts.collector.turns import Turns
from contacts.people.draft import Cause
from contacts.people.identifiers import distinct, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crm_store.log.append import Log
    from crm_store.log.position import Position

    from contacts.collector.received import Numbered, Request
    from contacts.collector.segment import Message
    from contacts.collector.set_aside import Drawer
    from contacts.people.draft import Draft, Loaded
    from contacts.people.registry import Registry

FACTS: Final = UUID("2f0d8f0e-6d6b-5c0c-9d0f-3a7d1f6f0c11")
"""Namespace of the facts' stream ids: uuid5 of source and message id."""

LONGEST_SECONDS: Final = 10.0
"""A request that is not durable by then is answered 503; the sender sends it again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request."""

    position: Position | None  # None: nothing new
    new: int
    duplicates: int
    refused: tuple[Refused, ...]


class Intake:
    """Takes checked messages: registers, links, and writes facts, once per source and id."""

    def __init__(
        self,
        *,
        registry: Registry,
        log: Log,
        drawer: Drawer,
        mint_id: Callable[[], UUID],
    ) -> None:
        self._registry = registry
        self._log = log
        self._drawer = drawer
        self._mint_id = mint_id
        # Those that decide about the same people go one by one: side by side they would mostly
        # conflict, and a conflict is retried five times only.
        self._turns = Turns()

    async def take(self, request: Request) -> Taken:
        """Make the request durable in one append. Known message ids are dropped, for ever.

        Raises:
            TooManyConflictsError: others kept deciding about the same people.
            TimeoutError: not durable within 10 s.
            What PostgreSQL raises when it is away.
        """
        refused = {one.at: one for one in request.refused}
        epoch: int | None = None
        async with asyncio.timeout(LONGEST_SECONDS):
            while True:
                if epoch is None:
                    epoch = await self._log.epoch()
                if refused and not request.keeps_refused:
                    return Taken(None, 0, 0, tuple(refused.values()))
                messages = [one for one in request.messages if one.at not in refused]
                try:
                    return await self._try(request, messages, tuple(refused.values()), epoch)
                except NewEpochError:
                    # Whom the identifiers lead to, and what was refused for it, is found anew.
                    refused, epoch = {one.at: one for one in request.refused}, None
                except _RefusedLaterError as found:
                    # Each message goes out at most once, so this ends.
                    refused |= {one.at: one for one in found.refused}

    async def _try(
        self,
        request: Request,
        messages: Sequence[Numbered],
        refused: tuple[Refused, ...],
        epoch: int,
    ) -> Taken:
        bearers = distinct(one.message.bearer for one in messages)
        if not any(one.message.tells_who for one in messages):
            holders = await self._registry.holders(bearers)
            if len(holders) == len(bearers):
                draft = self._registry.draft_from(holders, {}, epoch=epoch)
                return await self._append(request, messages, refused, draft, frozenset())

        async def decided() -> Taken:
            draft, known = await self._draft(request.source, messages, epoch)
            return await self._append(request, messages, refused, draft, known)

        while True:
            names = await self._names(request.source, messages)
            async with self._turns.taken(names) as waited:
                # Whom it waited for may have opened the customer: those who come now decide about
                # that one by another name, and this goes on behind them.
                if not waited or await self._names(request.source, messages) == names:
                    return await retried(decided)

    async def _names(self, source: str, messages: Sequence[Numbered]) -> set[str]:
        """What may be decided on: customers, identifiers that are nobody's yet, message ids."""
        named = distinct(one for each in messages for one in identifiers_of(each.message))
        holders = await self._registry.holders(named)
        people = {str(holders.get(name, name)) for name in map(name_of, named)}
        return people | {str(_stream(source, one.message)) for one in messages}

    async def _draft(
        self, source: str, messages: Sequence[Numbered], epoch: int
    ) -> tuple[Draft, frozenset[UUID]]:
        """The people the messages name, and the streams of those that were taken before."""
        named = distinct(one for each in messages for one in identifiers_of(each.message))
        holders = await self._registry.holders(named)
        people: dict[UUID, Loaded] = {}
        known: frozenset[UUID] = frozenset()
        if any(one.message.tells_who for one in messages):
            people = await self._registry.people(set(holders.values()))
        deciding = [
            one.message
            for one in messages
            if one.message.tells_who or name_of(one.message.bearer) not in holders
        ]
        if deciding:
            # Looked up after the people were loaded: whoever takes the same message from here on
            # moves their streams, and this append fails. So no old identify changes anything,
            # and no message that is dropped registers anybody.
            known = await self._log.known([_stream(source, one) for one in deciding])
        return self._registry.draft_from(holders, people, epoch=epoch), known

    async def _append(
        self,
        request: Request,
        messages: Sequence[Numbered],
        refused: tuple[Refused, ...],
        draft: Draft,
        known: frozenset[UUID],
    ) -> Taken:
        facts: dict[UUID, Fact] = {}
        places: dict[UUID, Numbered] = {}
        later: list[Refused] = []
        for one in messages:
            stream_id = _stream(request.source, one.message)
            if stream_id in known or stream_id in facts:
                continue
            event_id = self._mint_id()
            meta = {"causationid": str(event_id)}
            try:
                customer_id = follow(one.message, draft, cause=Cause(one.message.occurred_at, meta))
            except Refusal as refusal:
                later.append(Refused(one.at, one.raw, _refusal(refusal)))
                continue
            places[event_id] = one
            facts[stream_id] = Fact(
                stream_id,
                NewEvent(
                    event=one.message.fact.of(customer_id),
                    event_id=event_id,
                    occurred_at=one.message.occurred_at,
                    partition_key=customer_id,
                ),
            )
        if later:
            await self._log.confirm(draft.epoch)
            raise _RefusedLaterError(later)
        if not facts and not refused:
            return Taken(None, 0, len(messages), ())
        also = self._drawer.statements(request, refused)
        try:
            appended = await self._registry.append(draft, facts=tuple(facts.values()), also=also)
        except EventTooLargeError as error:
            raise _RefusedLaterError([_too_large(error, places, draft)]) from error
        except DestroyedKeyError as error:
            raise _RefusedLaterError(_of_erased(error.key_id, facts, places)) from error
        new = len(facts) - len(appended.duplicates)
        return Taken(appended.position, new, len(messages) - new, refused)


class _RefusedLaterError(Exception):
    """Messages turned out not to be takable where they met what is known."""

    def __init__(self, refused: Sequence[Refused]) -> None:
        super().__init__(len(refused))
        self.refused = tuple(refused)


def _stream(source: str, message: Message) -> UUID:
    return derived_id(FACTS, source, message.message_id)


def _refusal(refusal: Refusal) -> BadInputError:
    return BadInputError("", refusal.detail, refusal.name)


def _too_large(error: EventTooLargeError, places: dict[UUID, Numbered], draft: Draft) -> Refused:
    """The message whose event is too large: the fact's, or the one that caused a decision."""
    fact_id = error.event_id if error.event_id in places else draft.cause_of(error.event_id)
    one = places[fact_id]
    reason = f"takes {error.size} bytes sealed, the limit is {error.limit}"
    return Refused(one.at, one.raw, BadInputError("", reason, "too-large"))


def _of_erased(key_id: str, facts: dict[UUID, Fact], places: dict[UUID, Numbered]) -> list[Refused]:
    """Every message of a customer who was erased. Nothing of what it holds is kept."""
    erased = BadInputError("", "its customer was erased", "erased")
    return [
        Refused(places[fact.event.event_id].at, None, erased)
        for fact in facts.values()
        if str(fact.event.partition_key) == key_id
    ]
