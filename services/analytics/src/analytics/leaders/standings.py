"""Who stands where: the table `standing`, and the marks of what Redis does not have of it yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_store.log.entries import Statement

from analytics.engagement.engagement import MOVED_EVERY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

LEAST_OWED_SECONDS: Final = 0.001
"""Says that something is owed, however short a time."""

LEADERS: Final = """
select customer_id, s_net, members from standing
where model_id = $1 and ($2::float8 is null or (s_net, customer_id) < ($2, $3::uuid))
order by s_net desc, customer_id desc limit $4
"""
# When a change came is not kept: it was when it fell due, or within the wait before that, which
# makes the whole wait the most that it can have been owed.
OWED: Final = f"""
select (extract(epoch from now() - min(due_at)) + {MOVED_EVERY_SECONDS})::float8 from engagement
where model_id = $1 and due_at is not null
"""  # noqa: S608  # constants only
ALL: Final = """
select customer_id, s_net, members from standing
where model_id = $1 and ($2::uuid is null or customer_id > $2) order by customer_id limit $3
"""
MARK: Final = """
insert into leader_dirty as d (model_id, customer_id)
select $1::bigint, u.customer_id from unnest($2::uuid[]) as u(customer_id) order by u.customer_id
on conflict (model_id, customer_id) do update set mark = default
"""
MARKED: Final = """
select d.customer_id, d.mark, s.s_net, s.members
from leader_dirty d
left join standing s on s.model_id = d.model_id and s.customer_id = d.customer_id
where d.model_id = $1 order by d.mark limit $2
"""
# Locked in the order of their ids, as they are set.
CLEAR: Final = """
with locked as materialized (
    select d.customer_id from leader_dirty d
    join unnest($2::uuid[], $3::bigint[]) as u(customer_id, mark)
        on d.customer_id = u.customer_id and d.mark = u.mark
    where d.model_id = $1 order by d.customer_id for update of d
)
delete from leader_dirty d using locked l where d.model_id = $1 and d.customer_id = l.customer_id
"""
CLEAR_ALL: Final = """
with locked as materialized (
    select d.customer_id from leader_dirty d where d.model_id = $1
    order by d.customer_id for update
)
delete from leader_dirty d using locked l where d.model_id = $1 and d.customer_id = l.customer_id
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A group under its root; `s_net` is None for one that stands nowhere any more."""

    customer_id: UUID
    s_net: float | None
    members: int


@dataclass(frozen=True, slots=True)
class Marked:
    """A standing that Redis lacks, and the mark that says so."""

    standing: Standing
    mark: int


async def read_leaders(
    pool: asyncpg.Pool, model_id: int, *, after: tuple[float, UUID] | None, limit: int
) -> list[Standing]:
    """The highest standings, behind the place `after`."""
    s_net, customer_id = after or (None, None)
    rows = await pool.fetch(LEADERS, model_id, s_net, customer_id, limit)
    return [Standing(*row) for row in rows]


async def read_owed(pool: asyncpg.Pool, model_id: int) -> float:
    """How long the oldest change that was folded waits to be ranked, at most; 0: none does."""
    owed: float | None = await pool.fetchval(OWED, model_id)
    return 0.0 if owed is None else max(owed, LEAST_OWED_SECONDS)


async def read_all(
    pool: asyncpg.Pool, model_id: int, *, after: UUID | None, limit: int
) -> list[Standing]:
    """Every standing, by id, behind the id `after`."""
    return [Standing(*row) for row in await pool.fetch(ALL, model_id, after, limit)]


async def read_marked(pool: asyncpg.Pool, model_id: int, *, limit: int) -> list[Marked]:
    """The oldest marks with what stands there now."""
    rows = await pool.fetch(MARKED, model_id, limit)
    return [Marked(Standing(row[0], row[2], row[3] or 0), row[1]) for row in rows]


def mark(model_id: int, customer_ids: Sequence[UUID]) -> Statement:
    """Says that these stand differently; written with what they stand at."""
    return Statement(MARK, (model_id, list(customer_ids)))


async def clear(pool: asyncpg.Pool, model_id: int, marked: Sequence[Marked]) -> None:
    """Take these marks away; one that was set anew meanwhile stays."""
    ids = [one.standing.customer_id for one in marked]
    await pool.execute(CLEAR, model_id, ids, [one.mark for one in marked])


async def clear_all(pool: asyncpg.Pool, model_id: int) -> None:
    await pool.execute(CLEAR_ALL, model_id)
