"""The read model `engagement`: one row of sums per customer id and scoring model.

A fold writes what its batch changed in two statements, whatever the batch's size, and notes in
the same rows that their standing and their event are owed (see `scores.moved`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from crm_projections.model import GlanceModel
from crm_store.log.entries import Statement

from analytics.engagement.sums import NOTHING, Batch, DayKey, Sums, add_up, apply_caps, weigh_all
from analytics.engagement.weighing import scale

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    import asyncpg
    from crm_store.log.tail import Glance

    from analytics.engagement.model import ScoringModel

MOVED_EVERY_SECONDS: Final = 2
"""`analytics.score.moved` is published at most so often per customer and model."""

# Ids go as one text and rows come as arrays: the driver takes longer for each element that it
# encodes, and for each record that it makes, than all the rest of a fold.
READ_SUMS: Final = """
select array_agg(customer_id), array_agg(s), array_agg(s_negative), array_agg(counted),
       array_agg(clamped), array_agg(last_fact_at)
from engagement where model_id = $1 and customer_id = any(string_to_array($2, ',')::uuid[])
"""
READ_DAYS: Final = """
select d.customer_id, d.kind, d.day, d.entries
from unnest($2::uuid[], $3::text[], $4::date[]) as k(customer_id, kind, day)
join engagement_day d
  on d.model_id = $1 and d.customer_id = k.customer_id and d.kind = k.kind and d.day = k.day
"""
# A fact that a cap leaves out changes neither sum.
MOVED: Final = "(e.s, e.s_negative) is distinct from (excluded.s, excluded.s_negative)"
# In the order of their ids, as everyone locks them: else two writers wait for each other.
WRITE_SUMS: Final = f"""
insert into engagement as e
    (model_id, customer_id, s, s_negative, counted, clamped, last_fact_at, unpublished, due_at)
select $1::bigint, u.*, true, now()
from unnest(string_to_array($2, ',')::uuid[], $3::text::float8[], $4::text::float8[],
            $5::text::bigint[], $6::text::bigint[], $7::text::timestamptz[])
    as u(customer_id, s, s_negative, counted, clamped, last_fact_at)
order by u.customer_id
on conflict (model_id, customer_id) do update set
    s = excluded.s, s_negative = excluded.s_negative, counted = excluded.counted,
    clamped = excluded.clamped, last_fact_at = excluded.last_fact_at, changes = e.changes + 1,
    unpublished = e.unpublished or {MOVED},
    due_at = case when e.due_at is null and {MOVED}
        then greatest(now(), e.moved_at + interval '{MOVED_EVERY_SECONDS} s') else e.due_at end
"""  # noqa: S608  # constants only
# Rows that stand differently though their sums did not change; one may be new here.
OWE_STANDINGS: Final = f"""
insert into engagement as e (model_id, customer_id, due_at)
select m.model_id, u.customer_id, now()
from unnest($1::bigint[]) as m(model_id) cross join unnest($2::uuid[]) as u(customer_id)
order by m.model_id, u.customer_id
on conflict (model_id, customer_id) do update set
    changes = e.changes + 1,
    due_at = coalesce(
        e.due_at, greatest(now(), e.moved_at + interval '{MOVED_EVERY_SECONDS} s'))
"""  # noqa: S608  # constants only
WRITE_DAYS: Final = """
insert into engagement_day (model_id, customer_id, kind, day, entries)
select $1::bigint, u.* from unnest($2::uuid[], $3::text[], $4::date[], $5::bytea[])
    as u(customer_id, kind, day, entries)
on conflict (model_id, customer_id, kind, day) do update set entries = excluded.entries
"""


def engagement(model: ScoringModel) -> GlanceModel[Batch]:
    """The fold of one scoring model. Another version of the model is another read model."""
    weigh = scale(model)

    def weighed(facts: Sequence[Glance]) -> Batch:
        return weigh_all(facts, weigh)

    async def fold(pool: asyncpg.Pool, batch: Batch) -> Sequence[Statement]:
        if not batch.tallies:
            return ()
        kept = await _read_days(pool, model.model_id, batch.days)
        changed = apply_caps(batch, kept)
        before = await read_sums(pool, model.model_id, batch.tallies)
        statements = [_write_sums(model.model_id, before, batch)]
        if changed:
            statements.append(_write_days(model.model_id, changed))
        return statements

    return GlanceModel(
        name=model.projection,
        version=model.version,
        types=model.types,
        weigh=weighed,
        fold=fold,
        with_id=model.capped_types,
        with_data=model.decoded_types,
    )


def owe_standings(model_ids: Sequence[int], customer_ids: Sequence[UUID]) -> Statement:
    """Says that the groups of these customers stand differently under these models."""
    return Statement(OWE_STANDINGS, (list(model_ids), list(customer_ids)))


async def read_sums(
    connection: Any,  # noqa: ANN401  # a pool or a connection of one
    model_id: int,
    customer_ids: Iterable[UUID],
) -> dict[UUID, Sums]:
    """The rows of those customers that have one."""
    columns = await connection.fetchrow(READ_SUMS, model_id, ",".join(map(str, customer_ids)))
    if columns is None or columns[0] is None:
        return {}
    customers, *sums = columns
    return dict(zip(customers, map(Sums._make, zip(*sums, strict=True)), strict=True))


async def _read_days(
    pool: asyncpg.Pool, model_id: int, keys: Iterable[DayKey]
) -> dict[DayKey, bytes]:
    columns = list(map(list, zip(*keys, strict=True)))
    if not columns:
        return {}
    rows = await pool.fetch(READ_DAYS, model_id, *columns)
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def _write_sums(model_id: int, before: Mapping[UUID, Sums], batch: Batch) -> Statement:
    sums = [
        add_up(before.get(customer_id, NOTHING), tally)
        for customer_id, tally in batch.tallies.items()
    ]
    customers = ",".join(map(str, batch.tallies))
    return Statement(WRITE_SUMS, (model_id, customers, *map(_literal, zip(*sums, strict=True))))


def _literal(column: Sequence[object]) -> str:
    """An array of numbers or instants as PostgreSQL reads it; None is its null."""
    return "{" + ",".join(["null" if one is None else str(one) for one in column]) + "}"


def _write_days(model_id: int, days: Mapping[DayKey, bytes]) -> Statement:
    keys = map(list, zip(*days, strict=True))
    return Statement(WRITE_DAYS, (model_id, *keys, list(days.values())))
