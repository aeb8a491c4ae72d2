"""The members as they are: names, mails, and whether they work here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from crm_events.contacts import (
    MemberChanged,
    MemberDeactivated,
    MemberReactivated,
    MemberRegistered,
)
from crm_events.personal import opened
from crm_projections.model import Projection, by_stream
from sqlalchemy import Boolean, Column, DateTime, Integer, MetaData, Table, Text, Uuid

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg
    from crm_store.log.logged import LoggedEvent

member = Table(
    "member",
    MetaData(),
    Column("member_id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=True, info={"personal": "member_id"}),
    Column("mail", Text, nullable=True, info={"personal": "member_id"}),
    Column("active", Boolean, nullable=False),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)

ONE: Final = "select m.* from member m where m.member_id = $1"
PAGE: Final = """
select m.* from member m
where ($1::uuid is null or m.member_id > $1) and ($2::bool is null or m.active = $2)
order by m.member_id limit $3
"""


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member. `version` is their stream's; what was erased is None."""

    member_id: UUID
    version: int
    name: str | None
    mail: str | None
    active: bool
    registered_at: datetime
    changed_at: datetime


members: Final = Projection[MemberRow](
    name="members", version=1, table=member, row=MemberRow, key=by_stream, opens=True
)


@members.on(MemberRegistered)
def open_row(row: MemberRow | None, logged: LoggedEvent[MemberRegistered]) -> MemberRow:
    if row is not None:
        return row
    return MemberRow(
        member_id=logged.stream_id,
        version=logged.stream_version,
        name=opened(logged.event.name),
        mail=opened(logged.event.mail),
        active=True,
        registered_at=logged.occurred_at,
        changed_at=logged.occurred_at,
    )


@members.on(MemberChanged)
def set_fields(row: MemberRow | None, logged: LoggedEvent[MemberChanged]) -> MemberRow | None:
    if row is None:
        return None
    event = logged.event
    return replace(
        row,
        version=logged.stream_version,
        name=opened(event.name) if "name" in event.fields else row.name,
        mail=opened(event.mail) if "mail" in event.fields else row.mail,
        changed_at=logged.occurred_at,
    )


@members.on(MemberDeactivated)
def deactivate(row: MemberRow | None, logged: LoggedEvent[MemberDeactivated]) -> MemberRow | None:
    return row and _made(row, logged, active=False)


@members.on(MemberReactivated)
def reactivate(row: MemberRow | None, logged: LoggedEvent[MemberReactivated]) -> MemberRow | None:
    return row and _made(row, logged, active=True)


async def read_member(pool: asyncpg.Pool, member_id: UUID) -> MemberRow | None:
    row = await pool.fetchrow(ONE, member_id)
    return None if row is None else MemberRow(*row.values())


async def read_page(
    pool: asyncpg.Pool, *, active: bool | None, behind: UUID | None, limit: int
) -> list[MemberRow]:
    """The members in the order of their ids, which is that of their registration."""
    rows = await pool.fetch(PAGE, behind, active, limit)
    return [MemberRow(*row.values()) for row in rows]


def _made(row: MemberRow, logged: LoggedEvent[Any], *, active: bool) -> MemberRow:
    version, at = logged.stream_version, logged.occurred_at
    return replace(row, version=version, active=active, changed_at=at)
