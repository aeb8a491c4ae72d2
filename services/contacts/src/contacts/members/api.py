"""Members over HTTP: registered, changed, deactivated and reactivated; one, and a list of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.bodies import CommandBody, gated_router
from crm_chassis.http.handling import Handler
from crm_chassis.http.pages import Page, Paging, read_cursor, write_cursor
from crm_chassis.http.problems import Problem, invalid_input
from crm_chassis.http.reads import Receipt, following
from crm_chassis.http.terms import CommandTerms, Terms, etag
from crm_events.contacts import Namespace
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, TypeAdapter

from contacts.members.decider import (
    ChangeMember,
    DeactivateMember,
    Member,
    MemberCommand,
    MemberUnknown,
    ReactivateMember,
    RegisterMember,
)
from contacts.members.directory import MemberRow, members, read_member, read_page
from contacts.people.identifiers import IdentifierInvalidError, identifier

LONGEST_NAME: Final = 300
LONGEST_MAIL: Final = 1_000

WRITE = Depends(requires("members:write"))
READ = Depends(requires("members:read"))
PLACE: Final = TypeAdapter(UUID)


def _not_cleared(given: object) -> object:
    if given is None:
        raise ValueError("cannot be cleared")
    return given


GivenName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME)
]
GivenMail = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_MAIL)]
KEPT: Final = BeforeValidator(_not_cleared)


class MemberRegistration(CommandBody):
    name: GivenName
    mail: GivenMail


class MemberChange(CommandBody):
    """What is absent stays; neither can be cleared."""

    name: Annotated[GivenName | None, KEPT] = None
    mail: Annotated[GivenMail | None, KEPT] = None


class MemberAnswer(BaseModel):
    """A member. `version` is what `If-Match` takes; a name or mail that was erased is null."""

    model_config = ConfigDict(frozen=True)

    member_id: UUID
    version: int
    name: str | None
    mail: str | None
    active: bool
    registered_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Members:
    """What the routes stand on."""

    handler: Handler[MemberCommand, Member | None]
    pool: asyncpg.Pool
    mint_id: Callable[[], UUID]

    async def register(
        self, body: MemberRegistration, terms: CommandTerms, response: Response
    ) -> Receipt:
        """Enter a member; `stream_id` is the member id."""
        command = RegisterMember(self.mint_id(), body.name, _normalised(body.mail))
        return await self.handler.answer(command.member_id, command, terms, response)


def members_routes(of: Members) -> APIRouter:
    """Commands: scope members:write. Reads: members:read."""
    router = gated_router(prefix="/members", tag="members")

    @router.post("", status_code=201, dependencies=[WRITE])
    async def register_member(
        body: MemberRegistration, response: Response, terms: Terms
    ) -> Receipt:
        """Enter somebody who works here; no other active member has the mail."""
        return await of.register(body, terms, response)

    @router.patch("/{member_id}", dependencies=[WRITE])
    async def change_member(
        member_id: UUID, body: MemberChange, response: Response, terms: Terms
    ) -> Receipt:
        """Give an active member another name or mail."""
        mail = None if body.mail is None else _normalised(body.mail)
        return await of.handler.answer(member_id, ChangeMember(body.name, mail), terms, response)

    @router.post("/{member_id}/deactivated", dependencies=[WRITE])
    async def deactivate_member(member_id: UUID, response: Response, terms: Terms) -> Receipt:
        """The member works here no more, or not for now; the mail is free for another."""
        return await of.handler.answer(member_id, DeactivateMember(), terms, response)

    @router.post("/{member_id}/reactivated", dependencies=[WRITE])
    async def reactivate_member(member_id: UUID, response: Response, terms: Terms) -> Receipt:
        """The member works here again, unless another active one has the mail by now."""
        return await of.handler.answer(member_id, ReactivateMember(), terms, response)

    _add_reads(router, of)
    return router


def _add_reads(router: APIRouter, of: Members) -> None:
    following_members = Depends(following(members))

    @router.get("", dependencies=[READ, following_members])
    async def list_members(
        paging: Paging,
        *,
        active: Annotated[bool | None, Query(description="Only those who do, or do not.")] = None,
    ) -> Page[MemberAnswer]:
        """The members in the order of their registration."""
        behind = read_cursor(PLACE, paging.cursor)
        rows = await read_page(of.pool, active=active, behind=behind, limit=paging.limit)
        full = len(rows) == paging.limit
        return Page[MemberAnswer](
            items=[_shown(row) for row in rows],
            next=write_cursor(PLACE, rows[-1].member_id) if full else None,
        )

    @router.get("/{member_id}", dependencies=[READ, following_members])
    async def one_member(member_id: UUID, response: Response) -> MemberAnswer:
        """A member, active or not."""
        row = await read_member(of.pool, member_id)
        if row is None:
            unknown = MemberUnknown()
            raise Problem(404, unknown.name, unknown.detail)
        response.headers["ETag"] = etag(row.version)
        return _shown(row)


def _normalised(mail: str) -> str:
    """The mail as people's are. Answers 422 where it is none."""
    try:
        return str(identifier(Namespace.MAIL, mail, region=None).value)
    except IdentifierInvalidError as error:
        raise invalid_input("body", "/mail", error.reason) from None


def _shown(row: MemberRow) -> MemberAnswer:
    return MemberAnswer(
        member_id=row.member_id,
        version=row.version,
        name=row.name,
        mail=row.mail,
        active=row.active,
        registered_at=row.registered_at,
        changed_at=row.changed_at,
    )
