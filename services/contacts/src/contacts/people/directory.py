"""The directory: who someone is, by which identifiers, and into whom they are linked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from crm_chassis.projection.model import Projection
from crm_events.contacts import (
    PersonChanged,
    PersonIdentified,
    PersonLinked,
    PersonRegistered,
    PersonUnlinked,
)
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from contacts.people.decider import MAX_LINEAGE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg
    from crm_chassis.log.logged import LoggedEvent
    from crm_chassis.projection.model import Key
    from crm_events.contacts import Identifier

MAX_MEMBERS: Final = 1_000
"""So many customers of one group are read; who has more is an error of identification."""

person = Table(
    "person",
    MetaData(),
    Column("customer_id", Uuid, primary_key=True),
    Column("profile", JSONB, nullable=False, info={"personal": "customer_id"}),
    Column("identifiers", JSONB, nullable=False, info={"personal": "customer_id"}),
    Column("linked_into", Uuid, nullable=True),
    Column("link_reason", Text, nullable=True),
    Column("linked_at", DateTime(timezone=True), nullable=True),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)
Index("person_linked_into", person.c.linked_into)

GROUP: Final = f"""
with recursive up(customer_id, linked_into, steps) as (
    select p.customer_id, p.linked_into, 0 from person p where p.customer_id = $1
    union all
    select p.customer_id, p.linked_into, up.steps + 1
    from up join person p on p.customer_id = up.linked_into where up.steps < {MAX_LINEAGE}
), down(customer_id, steps) as (
    (select up.customer_id, 0 from up order by up.steps desc limit 1)
    union all
    select p.customer_id, down.steps + 1
    from down join person p on p.linked_into = down.customer_id where down.steps < {MAX_LINEAGE}
)
select p.*, down.steps from down join person p using (customer_id)
order by down.steps, p.changed_at desc, p.customer_id limit {MAX_MEMBERS}
"""  # noqa: S608  # constants only


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One customer id. `identifiers` are {namespace, value, given, since}, oldest first."""

    customer_id: UUID
    profile: dict[str, Any]
    identifiers: list[dict[str, Any]]
    linked_into: UUID | None
    link_reason: str | None
    linked_at: datetime | None
    registered_at: datetime
    changed_at: datetime


def _customer(logged: LoggedEvent[Any]) -> Key:
    return (logged.partition_key,)


directory: Final = Projection[PersonRow](
    name="directory", version=1, table=person, row=PersonRow, key=_customer, opens=True
)


@directory.on(PersonRegistered)
def open_row(row: PersonRow | None, logged: LoggedEvent[PersonRegistered]) -> PersonRow | None:
    if row is not None:
        return row
    event = logged.event
    return PersonRow(
        customer_id=event.customer_id,
        profile=_opened(event.profile),
        identifiers=[_shown(one, logged.occurred_at) for one in event.identifiers],
        linked_into=None,
        link_reason=None,
        linked_at=None,
        registered_at=logged.occurred_at,
        changed_at=logged.occurred_at,
    )


@directory.on(PersonChanged)
def set_fields(row: PersonRow | None, logged: LoggedEvent[PersonChanged]) -> PersonRow | None:
    if row is None:
        return None
    both = {**row.profile, **_opened(logged.event.profile)}
    kept = {name: value for name, value in both.items() if value is not None}
    return replace(row, profile=kept, changed_at=logged.occurred_at)


@directory.on(PersonIdentified)
def add_identifier(
    row: PersonRow | None, logged: LoggedEvent[PersonIdentified]
) -> PersonRow | None:
    if row is None:
        return None
    added = _shown(logged.event.identifier, logged.occurred_at)
    return replace(row, identifiers=[*row.identifiers, added], changed_at=logged.occurred_at)


@directory.on(PersonLinked)
def link_row(row: PersonRow | None, logged: LoggedEvent[PersonLinked]) -> PersonRow | None:
    if row is None:
        return None
    event, at = logged.event, logged.occurred_at
    return replace(row, linked_into=event.into, link_reason=event.reason.value, linked_at=at)


@directory.on(PersonUnlinked)
def free_row(row: PersonRow | None, _: LoggedEvent[PersonUnlinked]) -> PersonRow | None:
    if row is None:
        return None
    return replace(row, linked_into=None, link_reason=None, linked_at=None)


@dataclass(frozen=True, slots=True)
class Group:
    """Customers found to be one person; a customer linked with nobody is a group of one."""

    members: tuple[PersonRow, ...]  # the survivor first, then those nearest to it

    @property
    def survivor(self) -> PersonRow:
        """The one whose history holds them all."""
        return self.members[0]

    @property
    def customer_ids(self) -> list[UUID]:
        return [member.customer_id for member in self.members]

    def profile(self) -> dict[str, Any]:
        """The survivor's fields; where it has none, the nearest and newest of the others'."""
        merged: dict[str, Any] = {}
        for member in reversed(self.members):
            merged |= member.profile
        return merged


async def group_of(pool: asyncpg.Pool, customer_id: UUID) -> Group | None:
    """Everyone who is one person with this customer; None for an id the directory has not."""
    rows = await pool.fetch(GROUP, customer_id)
    return Group(tuple(_row(row) for row in rows)) if rows else None


def _row(row: asyncpg.Record) -> PersonRow:
    return PersonRow(
        customer_id=row["customer_id"],
        profile=orjson.loads(row["profile"]),
        identifiers=orjson.loads(row["identifiers"]),
        linked_into=row["linked_into"],
        link_reason=row["link_reason"],
        linked_at=row["linked_at"],
        registered_at=row["registered_at"],
        changed_at=row["changed_at"],
    )


def identifiers_of(members: Sequence[PersonRow]) -> list[dict[str, Any]]:
    """All identifiers of a group, each with the customer id that it leads to."""
    return [
        {**one, "customer_id": member.customer_id}
        for member in members
        for one in member.identifiers
    ]


def _opened(profile: object) -> dict[str, Any]:
    return cast("dict[str, Any]", profile) if isinstance(profile, dict) else {}


def _shown(identifier: Identifier, since: datetime) -> dict[str, Any]:
    return {
        "namespace": identifier.namespace.value,
        "value": identifier.value if isinstance(identifier.value, str) else None,
        "given": identifier.given if isinstance(identifier.given, str) else None,
        "since": since.isoformat(),
    }
