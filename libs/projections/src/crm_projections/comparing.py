"""Two generations of a model's tables held against each other, at one place in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from crm_projections.copying import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

NAMED: Final = 5
"""Rows that differ and are named, of each table."""
COMPARED_WITHIN_S: Final = 600

KEY: Final = """
select a.attname from pg_index i
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
where i.indrelid = $1::regclass and i.indisprimary
order by array_position(i.indkey::int2[], a.attnum)
"""
# As text: there is no equality of json, and the same fold writes the same text.
COMPARE: Final = """
with differ as (
    select jsonb_build_array({columns})::text as key, l, n
    from {live} l full join {built} n using ({columns})
    where l::text is distinct from n::text
)
select count(*) over () as differ, key, to_jsonb(l)::text as live, to_jsonb(n)::text as built
from differ order by key limit {named}
"""
COUNT: Final = "select count(*) from {table}"
LIMITS: Final = """
select set_config('transaction_timeout', '0', true), set_config('statement_timeout', $1, true)
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same in both: its key, and the columns, never their values."""

    table: str
    key: str
    columns: tuple[str, ...]  # none where one of the two has no such row
    only_in: str | None = None

    def __str__(self) -> str:
        what = f"only in the {self.only_in} table" if self.only_in else ", ".join(self.columns)
        return f"{self.table} {self.key}: {what}"


@dataclass(frozen=True, slots=True)
class Compared:
    """What two generations of a model's tables have in common, and what not."""

    rows: int  # of the tables that were built
    differ: int
    named: tuple[Difference, ...]


async def compare(
    connection: asyncpg.Connection, tables: Sequence[str], *, live: str, built: str
) -> Compared:
    """Compare tables of two schemas, in the transaction that this connection is in."""
    await connection.fetchrow(LIMITS, f"{COMPARED_WITHIN_S}s")
    rows = differ = 0
    named: list[Difference] = []
    for table in tables:
        places = {"live": f"{live}.{quoted(table)}", "built": f"{built}.{quoted(table)}"}
        keys = [row["attname"] for row in await connection.fetch(KEY, places["live"])]
        sql = COMPARE.format(**places, named=NAMED, columns=", ".join(map(quoted, keys)))
        found = await connection.fetch(sql, timeout=COMPARED_WITHIN_S)
        differ += found[0]["differ"] if found else 0
        named += [_difference(table, row) for row in found]
        count = COUNT.format(table=places["built"])
        rows += await connection.fetchval(count, timeout=COMPARED_WITHIN_S)
    return Compared(rows, differ, tuple(named))


def _difference(table: str, row: asyncpg.Record) -> Difference:
    live, built = _read(row["live"]), _read(row["built"])
    if live is None or built is None:
        return Difference(table, row["key"], (), "live" if built is None else "built")
    columns = tuple(name for name in live if live[name] != built[name])
    return Difference(table, row["key"], columns)


def _read(row: str | None) -> Mapping[str, Any] | None:
    return None if row is None else cast("Mapping[str, Any]", orjson.loads(row))
