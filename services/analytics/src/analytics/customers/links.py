"""The read model `links`: which customer's history belongs to which; and reading groups."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from crm_chassis.http.problems import Problem
from crm_events.contacts import PersonLinked, PersonUnlinked
from crm_projections.model import BatchModel
from crm_store.log.entries import Statement

from analytics.customers.groups import Link, LinkKey, fold_links, link_key
from analytics.engagement.engagement import owe_standings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    import asyncpg
    from crm_store.log.logged import LoggedEvent

LARGEST_GROUP: Final = 10_000
"""So many ids are one person at most; more are an error of identification. As in contacts."""

READ_PAIRS: Final = """
select l.customer_id, l.into_id, l.periods::text as periods
from unnest($1::uuid[], $2::uuid[]) as k(customer_id, into_id)
join link l using (customer_id, into_id)
"""
READ_AROUND: Final = """
with recursive reached(customer_id) as (
    select unnest($1::uuid[])
    union
    select n.id from reached r cross join lateral (
        select l.into_id as id from link l
        where l.customer_id = r.customer_id and (l.linked or not $3)
        union all
        select l.customer_id from link l
        where l.into_id = r.customer_id and (l.linked or not $3)
    ) n
)
select r.customer_id as reached, l.customer_id, l.into_id, l.periods::text as periods
from (select customer_id from reached limit $2) r
left join link l on l.customer_id = r.customer_id and (l.linked or not $3)
"""
WRITE_LINKS: Final = """
insert into link (customer_id, into_id, linked, periods)
select u.customer_id, u.into_id, u.linked, u.periods::json
from unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::text[])
    as u(customer_id, into_id, linked, periods)
on conflict (customer_id, into_id) do update
    set linked = excluded.linked, periods = excluded.periods
"""


class GroupTooLargeError(Problem):
    """More ids are linked than are taken for one person: no part of them is shown as the whole.

    `reached` are some of them, those nearest to the customer that was asked for.
    """

    def __init__(self, reached: frozenset[UUID]) -> None:
        super().__init__(
            422, "group-too-large", f"More than {LARGEST_GROUP} customer ids are linked into one."
        )
        self.reached = reached


def links(model_ids: Sequence[int]) -> BatchModel:
    """The fold of links. Standings under `model_ids` are owed anew where a link changes."""

    async def fold(pool: asyncpg.Pool, logged: Sequence[LoggedEvent[Any]]) -> Sequence[Statement]:
        before = await _read_pairs(pool, {link_key(each) for each in logged})
        changed = fold_links(before, logged)
        if not changed:
            return ()
        touched = sorted({customer_id for pair in changed for customer_id in pair})
        return _write(changed), owe_standings(model_ids, touched)

    return BatchModel(
        name="links",
        version=1,
        types=(PersonLinked.type, PersonUnlinked.type),
        fold=fold,
        tables=("link",),
        marks=("engagement",),
    )


async def read_links(
    connection: Any,  # noqa: ANN401  # a pool or a connection of one
    customer_ids: Iterable[UUID],
    *,
    closed: bool = False,
) -> list[Link]:
    """Every open link that leads to or from those customers, over any number of steps.

    `closed`: those taken back are followed as well.

    Raises:
        GroupTooLargeError: they lead to more than `LARGEST_GROUP` ids, all together.
    """
    rows = await connection.fetch(READ_AROUND, list(customer_ids), LARGEST_GROUP + 1, not closed)
    reached = frozenset(row["reached"] for row in rows)
    if len(reached) > LARGEST_GROUP:
        raise GroupTooLargeError(reached)
    return [_link(row) for row in rows if row["customer_id"] is not None]


async def _read_pairs(pool: asyncpg.Pool, pairs: Iterable[LinkKey]) -> dict[LinkKey, Link]:
    columns = list(map(list, zip(*pairs, strict=True)))
    return {
        (row["customer_id"], row["into_id"]): _link(row)
        for row in await pool.fetch(READ_PAIRS, *columns)
    }


def _write(changed: Mapping[LinkKey, Link]) -> Statement:
    rows = [
        (link.customer_id, link.into_id, link.linked, orjson.dumps(link.periods).decode())
        for link in changed.values()
    ]
    return Statement(WRITE_LINKS, tuple(map(list, zip(*rows, strict=True))))


def _link(row: asyncpg.Record) -> Link:
    return Link(
        row["customer_id"],
        row["into_id"],
        tuple(
            (
                datetime.fromisoformat(since),
                None if until is None else datetime.fromisoformat(until),
            )
            for since, until in orjson.loads(row["periods"])
        ),
    )
