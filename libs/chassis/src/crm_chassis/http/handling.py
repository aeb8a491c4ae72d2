"""Commands for one kind of stream: load, fold, decide, append; answered once and by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from crm_deciding.draft import CORRELATION, Cause, Draft
from crm_deciding.refusal import Refusal
from crm_events.errors import MissingKeyError
from crm_store.log.entries import ReservedError, VersionConflictError
from crm_store.log.retried import TooManyConflictsError, retried

from crm_chassis.http.idempotency import once
from crm_chassis.http.problems import Problem, version_mismatch
from crm_chassis.http.reads import Receipt
from crm_chassis.http.terms import etag

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    import asyncpg
    from crm_deciding.decider import Decider
    from crm_store.clock import Clock
    from crm_store.log.append import Log
    from crm_store.log.entries import Reservation, Statement
    from fastapi import Response

    from crm_chassis.http.terms import CommandTerms

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Along:
    """What is written with the events that were decided, in their transaction."""

    reservations: tuple[Reservation, ...] = ()
    also: tuple[Statement, ...] = ()


def nothing(command: object, before: object, after: object) -> Along:
    """The `along` of a handler of which nothing is written but events."""
    del command, before, after
    return Along()


class Handler(Generic[C, S]):
    """Takes commands for the streams of one decider."""

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        decider: Decider[C, S],
        *,
        unknown: type[Refusal],
        taken: type[Refusal] | None = None,
        pool: asyncpg.Pool,
        log: Log,
        clock: Clock,
        mint_id: Callable[[], UUID],
        along: Callable[[C, S, S], Along] = nothing,
    ) -> None:
        """`unknown` is its refusal that is a 404; `taken`: another holds what was to be reserved.

        `along` is given the command, and the stream's state before it and after.
        """
        self._decider = decider
        self._along = along
        self._unknown = unknown
        self._taken = taken
        self._pool = pool
        self._log = log
        self._clock = clock
        self._mint_id = mint_id

    async def handle(self, stream_id: UUID, command: C, terms: CommandTerms) -> Receipt:
        """Do a command; the receipt of the stream as it is then.

        A conflict is retried in a new transaction, unless the caller stated the version.

        Raises:
            Refusal, and what `Log.append` raises; a Problem where nobody knows the stream, where
            others were faster five times in a row, or where the customer's key is not here yet.
        """

        async def attempt() -> Receipt:
            return await once(
                terms.asked, self._pool, Receipt, lambda: self._attempt(stream_id, command, terms)
            )

        try:
            return await (retried(attempt) if terms.if_match is None else attempt())
        except TooManyConflictsError:
            raise Problem(409, "version-conflict", "Others kept changing it; try again.") from None
        except VersionConflictError:
            if terms.if_match is None:
                raise
            raise version_mismatch() from None
        except self._unknown as refusal:
            raise Problem(404, refusal.name, refusal.detail) from None
        except MissingKeyError:
            detail = "The key of this customer is not here yet; try again."
            raise Problem(503, "key-awaited", detail, headers={"Retry-After": "1"}) from None

    async def answer(
        self, stream_id: UUID, command: C, terms: CommandTerms, response: Response
    ) -> Receipt:
        """`handle`, and tell the version in the answer's `ETag`."""
        receipt = await self.handle(stream_id, command, terms)
        response.headers["ETag"] = etag(receipt.version)
        return receipt

    async def _attempt(self, stream_id: UUID, command: C, terms: CommandTerms) -> Receipt:
        draft = await Draft.on(self._log, mint_id=self._mint_id)
        before = await draft.state(self._decider, stream_id)
        if terms.if_match is not None and draft.version(stream_id) != terms.if_match:
            raise VersionConflictError(stream_id)
        cause = Cause(self._clock(), {CORRELATION: terms.request_id})
        try:
            await draft.apply(self._decider, stream_id, command, cause=cause)
        except Refusal:
            await self._log.confirm(draft.epoch)
            raise
        wrote = bool(draft.appends)
        receipt = Receipt.of(stream_id, draft.version(stream_id), None)
        keeps = [terms.asked.keeps(receipt, wrote=wrote)] if terms.asked else []
        if not wrote:
            for statement in keeps:
                await self._pool.execute(statement.sql, *statement.args)
            return receipt
        along = self._along(command, before, await draft.state(self._decider, stream_id))
        try:
            appended = await self._log.append(
                epoch=draft.epoch,
                streams=draft.appends,
                reservations=along.reservations,
                also=[*draft.timers(), *keeps, *along.also],
            )
        except ReservedError:
            if self._taken is None:
                raise
            raise self._taken from None
        return Receipt.of(stream_id, receipt.version, appended.position)
