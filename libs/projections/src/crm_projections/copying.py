"""A table made once more in another schema: the same columns, constraints, indexes and storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncpg

INDEXES: Final = """
select pg_get_indexdef(i.indexrelid) as created, c.conname as name,
       pg_get_constraintdef(c.oid) as bound
from pg_index i
left join pg_constraint c on c.conindid = i.indexrelid and c.conrelid = i.indrelid
where i.indrelid = $1::regclass order by i.indexrelid
"""
OPTIONS: Final = """
select array_to_string(reloptions, ', ') from pg_class where oid = $1::regclass
"""


class CannotRebuildError(Exception):
    """Its text says why not; nothing was changed."""


async def copy_table(connection: asyncpg.Connection, table: str, home: str, schema: str) -> None:
    """Make a table of `home` in `schema`, empty, its indexes by the names that they have.

    Both are quoted. Raises CannotRebuildError where there is no such table.
    """
    live, new = f"{home}.{quoted(table)}", f"{schema}.{quoted(table)}"
    if await connection.fetchval("select to_regclass($1)", live) is None:
        raise CannotRebuildError(f"there is no table {table}")
    options: str | None = await connection.fetchval(OPTIONS, live)
    stored = f" with ({options})" if options else ""
    await connection.execute(
        f"create table {new} (like {live} including all excluding indexes){stored}"
    )
    for row in await connection.fetch(INDEXES, live):
        if row["name"] is not None:
            await connection.execute(
                f"alter table {new} add constraint {quoted(row['name'])} {row['bound']}"
            )
            continue
        # The server tells it with the schema's name, quoted only where it has to be.
        begin, on, rest = row["created"].partition(" ON ")
        await connection.execute(f"{begin}{on}{new}{rest[rest.index(' USING ') :]}")


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'
