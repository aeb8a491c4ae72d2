"""The members of the company: where mail for them goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from crm_deciding.effects.sending import Later, Never
from crm_events.contacts import (
    MemberChanged,
    MemberDeactivated,
    MemberReactivated,
    MemberRegistered,
)
from crm_events.personal import opened
from crm_projections.model import Projection, by_stream
from sqlalchemy import Boolean, Column, MetaData, Table, Text, Uuid

if TYPE_CHECKING:
    import asyncpg
    from crm_store.log.logged import LoggedEvent

member = Table(
    "member",
    MetaData(),
    Column("member_id", Uuid, primary_key=True),
    Column("name", Text, nullable=True, info={"personal": "member_id"}),
    Column("mail", Text, nullable=True, info={"personal": "member_id"}),
    Column("active", Boolean, nullable=False),
)

MAIL: Final = "select active, mail from member where member_id = $1"
DEACTIVATED: Final = Never("the member is deactivated")
FORGOTTEN: Final = Never("the member was erased")
UNKNOWN: Final = Later("contacts has not told of this member")
"""It may in a moment: a new installation hears of members while deals of theirs already rot."""


@dataclass(frozen=True, slots=True)
class Member:
    member_id: UUID
    name: str | None  # None: erased, as the mail
    mail: str | None
    active: bool


members: Final = Projection[Member](
    name="members", version=1, table=member, row=Member, key=by_stream, opens=True
)


@members.on(MemberRegistered)
def register(row: Member | None, logged: LoggedEvent[MemberRegistered]) -> Member | None:
    event = logged.event
    return row or Member(logged.stream_id, opened(event.name), opened(event.mail), active=True)


@members.on(MemberChanged)
def change(row: Member | None, logged: LoggedEvent[MemberChanged]) -> Member | None:
    event = logged.event
    if row is None:
        return None
    return replace(
        row,
        name=opened(event.name) if "name" in event.fields else row.name,
        mail=opened(event.mail) if "mail" in event.fields else row.mail,
    )


@members.on(MemberDeactivated)
def deactivate(row: Member | None, _: LoggedEvent[MemberDeactivated]) -> Member | None:
    return row and replace(row, active=False)


@members.on(MemberReactivated)
def reactivate(row: Member | None, _: LoggedEvent[MemberReactivated]) -> Member | None:
    return row and replace(row, active=True)


async def address_of(pool: asyncpg.Pool, member_id: str) -> str | Later | Never:
    """Where mail for a member goes, or why it goes nowhere."""
    row = await pool.fetchrow(MAIL, UUID(member_id))
    if row is None:
        return UNKNOWN
    if not row["active"]:
        return DEACTIVATED
    return FORGOTTEN if row["mail"] is None else row["mail"]
