"""Commands about members: load, fold, decide, append, with the mail reserved or let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm_chassis.deciding.draft import CORRELATION, Cause, Draft
from crm_chassis.http.idempotency import once
from crm_chassis.http.problems import Problem
from crm_chassis.http.reads import Receipt
from crm_chassis.log.entries import ReservedError, VersionConflictError
from crm_chassis.log.retried import TooManyConflictsError, retried
from crm_chassis.refusal import Refusal

from contacts.members.decider import MEMBERS, MailTaken, MemberUnknown, RegisterMember
from contacts.members.mails import held, letting_go

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    import asyncpg
    from crm_chassis.clock import Clock
    from crm_chassis.http.terms import CommandTerms
    from crm_chassis.log.append import Log

    from contacts.members.decider import MemberCommand
    from contacts.subject_keys import SubjectKeys


class Handler:
    """Takes commands for members."""

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        log: Log,
        subject_keys: SubjectKeys,
        digest_key: bytes,
        clock: Clock,
        mint_id: Callable[[], UUID],
    ) -> None:
        self._pool = pool
        self._log = log
        self._subject_keys = subject_keys
        self._digest_key = digest_key
        self._clock = clock
        self._mint_id = mint_id

    async def handle(self, member_id: UUID, command: MemberCommand, terms: CommandTerms) -> Receipt:
        """Do a command; the receipt of the member's stream as it is then.

        A conflict is retried in a new transaction, unless the caller stated the version.

        Raises:
            Refusal, and what `Log.append` raises; a Problem where nobody knows the member, or where
            others were faster five times in a row.
        """

        async def attempt() -> Receipt:
            return await once(
                terms.asked, self._pool, Receipt, lambda: self._attempt(member_id, command, terms)
            )

        try:
            return await (retried(attempt) if terms.if_match is None else attempt())
        except TooManyConflictsError:
            raise Problem(409, "version-conflict", "Others kept changing it; try again.") from None
        except MemberUnknown as refusal:
            raise Problem(404, refusal.name, refusal.detail) from None

    async def _attempt(
        self, member_id: UUID, command: MemberCommand, terms: CommandTerms
    ) -> Receipt:
        draft = await Draft.on(self._log, mint_id=self._mint_id)
        before = held(await draft.state(MEMBERS, member_id), key=self._digest_key)
        if terms.if_match is not None and draft.version(member_id) != terms.if_match:
            raise VersionConflictError(member_id)
        cause = Cause(self._clock(), {CORRELATION: terms.request_id})
        try:
            await draft.apply(MEMBERS, member_id, command, cause=cause)
        except Refusal:
            await self._log.confirm(draft.epoch)
            raise
        wrote = bool(draft.appends)
        receipt = Receipt.of(member_id, draft.version(member_id), None)
        also = [terms.asked.keeps(receipt, wrote=wrote)] if terms.asked else []
        if not wrote:
            for statement in also:
                await self._pool.execute(statement.sql, *statement.args)
            return receipt
        if isinstance(command, RegisterMember):
            also += self._subject_keys.storing([self._subject_keys.mint(str(member_id))])
        after = held(await draft.state(MEMBERS, member_id), key=self._digest_key)
        if before is not None and before != after:
            also.append(letting_go(before))
        try:
            appended = await self._log.append(
                epoch=draft.epoch,
                streams=draft.appends,
                reservations=[after] if after is not None and after != before else [],
                also=also,
            )
        except ReservedError:
            raise MailTaken from None
        return Receipt.of(member_id, receipt.version, appended.position)
