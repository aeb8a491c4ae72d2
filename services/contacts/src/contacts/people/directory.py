"""The directory: who someone is, by which identifiers, and into whom they are linked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from crm_events.contacts import (
    PersonChanged,
    PersonIdentified,
    PersonLinked,
    PersonRegistered,
    PersonUnlinked,
)
from crm_events.personal import opened
from crm_projections.model import Projection
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg
    from crm_events.contacts import Identifier
    from crm_projections.model import Key
    from crm_store.log.logged import LoggedEvent

MAX_MEMBERS: Final = 10_000
"""So many customers are one at most; more are an error of identification. As in analytics."""

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

# Of ids alone, so that a circle ends it; one more than the most tells that there are more.
GROUP: Final = f"""
with recursive reached(customer_id) as (
    select $1::uuid
    union
    select n.id from reached r cross join lateral (
        select p.linked_into as id from person p
        where p.customer_id = r.customer_id and p.linked_into is not null
        union all
        select p.customer_id from person p where p.linked_into = r.customer_id
    ) n
)
select p.* from (select customer_id from reached limit {MAX_MEMBERS + 1}) r
join person p using (customer_id)
"""  # noqa: S608  # constants only


class GroupTooLargeError(Exception):
    """More customers are linked than are read as one: no part of them is shown as the whole."""

    def __init__(self) -> None:
        super().__init__(f"More than {MAX_MEMBERS} customers are linked into one.")


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
    """Everyone who is one person with this customer; None for an id the directory has not.

    Raises GroupTooLargeError.
    """
    rows = await pool.fetch(GROUP, customer_id)
    if len(rows) > MAX_MEMBERS:
        raise GroupTooLargeError
    return Group(_by_nearness([_row(row) for row in rows])) if rows else None


def _by_nearness(rows: Sequence[PersonRow]) -> tuple[PersonRow, ...]:
    """The survivor, then by steps from it, the last changed first among those as far.

    Where links run in a circle (which is not decided), the smallest id survives.
    """
    known = {row.customer_id: row for row in rows}
    linked: dict[UUID, list[UUID]] = {}
    for row in rows:
        if row.linked_into is not None:
            linked.setdefault(row.linked_into, []).append(row.customer_id)
    free = [row.customer_id for row in rows if row.linked_into not in known]
    ring = [min(free or known)]
    steps = dict.fromkeys(ring, 0)
    while ring:
        found = [one for near in ring for one in linked.get(near, ()) if one not in steps]
        steps |= dict.fromkeys(found, steps[ring[0]] + 1)
        ring = found
    newest = sorted(rows, key=lambda row: (-row.changed_at.timestamp(), row.customer_id))
    return tuple(sorted(newest, key=lambda row: steps[row.customer_id]))


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
        "value": opened(identifier.value),
        "given": opened(identifier.given),
        "since": since.isoformat(),
    }
