"""The customers that deals are with: what they are called, and into whom they are linked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from crm_events.contacts import PersonChanged, PersonLinked, PersonRegistered, PersonUnlinked
from crm_projections.model import Projection
from sqlalchemy import Column, Index, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    import asyncpg
    from crm_projections.model import Key
    from crm_store.log.logged import LoggedEvent

MAX_MEMBERS: Final = 10_000
"""So many customers are one at most; more are an error of identification. As in contacts."""
LONGEST_NAME: Final = 300
NAMED_BY: Final = ("name", "firstName", "lastName", "company")
"""Profile fields that say what somebody is called."""

account = Table(
    "account",
    MetaData(),
    Column("customer_id", Uuid, primary_key=True),
    Column("told", JSONB, nullable=False, info={"personal": "customer_id"}),
    Column("name", Text, nullable=True, info={"personal": "customer_id"}),
    Column("linked_into", Uuid, nullable=True),
)
Index("account_linked_into", account.c.linked_into)

NAMES: Final = """
select customer_id, name from account where customer_id = any($1::uuid[]) and name is not null
"""
IS_KNOWN: Final = "select exists (select from account where customer_id = $1)"
# Of ids alone, so that a circle ends it; one more than the most tells that there are more.
GROUP: Final = f"""
with recursive reached(customer_id) as (
    select $1::uuid
    union
    select n.id from reached r cross join lateral (
        select a.linked_into as id from account a
        where a.customer_id = r.customer_id and a.linked_into is not null
        union all
        select a.customer_id from account a where a.linked_into = r.customer_id
    ) n
)
select customer_id from reached limit {MAX_MEMBERS + 1}
"""  # noqa: S608  # constants only


class GroupTooLargeError(Exception):
    """More customers are linked than are read as one: no part of them is shown as the whole."""

    def __init__(self) -> None:
        super().__init__(f"More than {MAX_MEMBERS} customers are linked into one.")


@dataclass(frozen=True, slots=True)
class Account:
    """One customer id. `told` are the profile fields that `name` is made of."""

    customer_id: UUID
    told: dict[str, str]
    name: str | None
    linked_into: UUID | None


def _customer(logged: LoggedEvent[Any]) -> Key:
    return (logged.partition_key,)


accounts: Final = Projection[Account](
    name="accounts", version=1, table=account, row=Account, key=_customer, opens=True
)


@accounts.on(PersonRegistered)
def open_account(row: Account | None, logged: LoggedEvent[PersonRegistered]) -> Account | None:
    return row or _named(Account(logged.partition_key, {}, None, None), logged.event.profile)


@accounts.on(PersonChanged)
def rename(row: Account | None, logged: LoggedEvent[PersonChanged]) -> Account | None:
    return row and _named(row, logged.event.profile)


@accounts.on(PersonLinked)
def link_account(row: Account | None, logged: LoggedEvent[PersonLinked]) -> Account | None:
    return row and replace(row, linked_into=logged.event.into)


@accounts.on(PersonUnlinked)
def free_account(row: Account | None, _: LoggedEvent[PersonUnlinked]) -> Account | None:
    return row and replace(row, linked_into=None)


async def is_known(pool: asyncpg.Pool, customer_id: UUID) -> bool:
    """Has contacts told of this customer?"""
    known: bool = await pool.fetchval(IS_KNOWN, customer_id)
    return known


async def names_of(pool: asyncpg.Pool, customer_ids: Collection[UUID]) -> dict[UUID, str]:
    """What these customers are called; those without a name are missing."""
    rows = await pool.fetch(NAMES, list(customer_ids))
    return {row["customer_id"]: row["name"] for row in rows}


async def group_of(pool: asyncpg.Pool, customer_id: UUID) -> list[UUID]:
    """The ids of everyone who is one person with this customer; itself alone where it is unknown.

    Raises GroupTooLargeError.
    """
    rows = await pool.fetch(GROUP, customer_id)
    if len(rows) > MAX_MEMBERS:
        raise GroupTooLargeError
    return [row["customer_id"] for row in rows]


def _named(row: Account, profile: object) -> Account:
    """The account after these profile fields; erased ones say nothing."""
    if not isinstance(profile, dict):
        return row
    fields = cast("dict[str, Any]", profile)
    changed = {name: fields[name] for name in NAMED_BY if name in fields}
    if not changed:
        return row
    both = {**row.told, **changed}
    told = {
        name: value.strip()[:LONGEST_NAME]
        for name, value in both.items()
        if isinstance(value, str) and value.strip()
    }
    return replace(row, told=told, name=_called(told))


def _called(told: dict[str, str]) -> str | None:
    parts = [told[name] for name in ("firstName", "lastName") if name in told]
    return told.get("name") or " ".join(parts) or told.get("company")
