"""A second set of a model's tables in a schema of its own, and how it takes the first one's place.

The tables keep their names: whoever reads finds those in the schema of the service. A session that
looks into the other schema first runs the same folds over the other tables, checkpoint and parked
keys included.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_chassis.deeds import NOTE
from crm_chassis.log.position import Position
from crm_chassis.projection.model import BatchModel, tables_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from crm_chassis.projection.model import ReadModel

HOLD_S: Final = 2.0
LOCK_WITHIN_MS: Final = 50
"""Reads wait behind who waits for a lock; and that holds a transaction id, which tails wait for."""
DROP_WITHIN_MS: Final = 1_000
LARGEST_TERM: Final = 2**62

# What a fold writes besides its tables.
KEPT_WITH: Final = ("projection_checkpoint", "parked_key", "parked_event")

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
SHAPE: Final = """
select array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) order by a.attnum)
from pg_attribute a
where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped
"""
# The term rises: the page that is being folded writes nothing any more.
HOLD: Final = """
update {home}.projection_checkpoint
set term = term + 1, held_until = clock_timestamp() + make_interval(secs => $3)
where name = $1 and version = $2
returning epoch, xid::text as xid, gp
"""
LET_GO: Final = """
update {home}.projection_checkpoint set held_until = null where name = $1 and version = $2
"""
BOTH: Final = """
select l.epoch, l.xid::text as xid, l.gp, n.epoch as n_epoch, n.xid::text as n_xid, n.gp as n_gp,
       n.stopped
from {home}.projection_checkpoint l join {schema}.projection_checkpoint n using (name, version)
where l.name = $1 and l.version = $2
"""
# Of the live model: a term above all that anybody holds; a pause stays what it is.
TAKE_PLACE: Final = """
with moved as (
    update {home}.projection_checkpoint l
    set epoch = n.epoch, xid = n.xid, gp = n.gp, recorded_at = n.recorded_at,
        moved_at = clock_timestamp(), stopped = n.stopped, term = l.term + 1, held_until = null
    from {schema}.projection_checkpoint n
    where (l.name, l.version) = ($1, $2) and (n.name, n.version) = ($1, $2) {when}
    returning 1)
select assert_moved((select count(*) from moved), 1)
"""
WHEN_LEVEL: Final = "and (l.epoch, l.xid, l.gp) = (n.epoch, n.xid, n.gp) and n.term = $3"
MOVE_PARKED: Final = """
insert into {to}.{table} select * from {source}.{table} where projection = $1 and version = $2
"""
FREE_PARKED: Final = "delete from {home}.{table} where projection = $1 and version = $2"


class CannotRebuildError(Exception):
    """Its text says why not; nothing was changed."""


class OvertakenError(Exception):
    """Somebody else builds this model anew by now."""


@dataclass(frozen=True, slots=True)
class Both:
    """Where the live model and the one that is built stand; why that one stopped, if it did."""

    live: Position
    built: Position
    stopped: str | None


@dataclass(frozen=True, slots=True)
class Generation:
    """The tables of a model in a schema beside its `home`, empty or as a fold left them."""

    name: str
    version: int
    tables: tuple[str, ...]
    marks: tuple[str, ...]  # tables of others, of which it has an empty copy
    home: str
    schema: str
    term: int

    @classmethod
    async def of(cls, pool: asyncpg.Pool, model: ReadModel) -> Generation:
        """The next one of a model; nothing is made yet.

        Raises CannotRebuildError where the model shares its tables with others.
        """
        home = await pool.fetchval("select current_schema()")
        name, tables = model.name, tables_of(model)
        # No live checkpoint has a term below zero: what looks there by mistake moves nothing.
        term = -random.randrange(1, LARGEST_TERM)  # noqa: S311  # tells two apart, keeps no secret
        marks = model.marks if isinstance(model, BatchModel) else ()
        place = _quoted(f"{name}_next")
        return cls(name, model.version, tables, marks, _quoted(home), place, term)

    @property
    def before(self) -> str:
        """The schema of the generation that this one replaces."""
        return _quoted(f"{self.name}_before")

    @property
    def schemas(self) -> str:
        """Where a session looks that folds into this generation."""
        return f"{self.schema}, {self.home}"

    async def make(self, pool: asyncpg.Pool) -> None:
        """Make the tables, empty, as the live ones are; what a dead process left is dropped.

        Raises CannotRebuildError where the model has none of its own, or was never folded.
        """
        if not self.tables:
            raise CannotRebuildError(
                f"{self.name} shares its tables with others: a new version of it is built instead"
            )
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"drop schema if exists {self.schema} cascade")
            await connection.execute(f"create schema {self.schema}")
            for table in (*self.tables, *self.marks, *KEPT_WITH):
                await self._copy(connection, table)
            await connection.execute(
                f"insert into {self.schema}.projection_checkpoint (name, version, term)"  # noqa: S608  # quoted
                " values ($1, $2, $3)",
                self.name,
                self.version,
                self.term,
            )

    async def drop(self, pool: asyncpg.Pool) -> None:
        """Drop it, or what is left of it."""
        await _drop_schema(pool, self.schema)

    async def drop_what_is_left(self, pool: asyncpg.Pool) -> list[str]:
        """Drop the generation before, and what a rebuild that died left; the schemas dropped."""
        return [one for one in (self.before, self.schema) if await _drop_schema(pool, one)]

    async def both(self, connection: asyncpg.Connection | asyncpg.Pool) -> Both:
        """Where both stand.

        Raises OvertakenError where this generation is gone.
        """
        row = await connection.fetchrow(self._sql(BOTH), self.name, self.version)
        if row is None:
            raise OvertakenError
        built = Position(row["n_epoch"], int(row["n_xid"]), row["n_gp"])
        return Both(Position(row["epoch"], int(row["xid"]), row["gp"]), built, row["stopped"])

    async def hold(self, pool: asyncpg.Pool) -> Position:
        """Have the live model stand still for 2 s at most; where it does."""
        row = await pool.fetchrow(self._sql(HOLD), self.name, self.version, HOLD_S)
        if row is None:
            raise CannotRebuildError(f"{self.name} {self.version} was never folded here")
        return Position(row["epoch"], int(row["xid"]), row["gp"])

    async def let_go(self, pool: asyncpg.Pool) -> None:
        """The live model is folded on."""
        await pool.execute(self._sql(LET_GO), self.name, self.version)

    async def take_place(self, pool: asyncpg.Pool, *, by: str, outcome: str) -> None:
        """Put this generation where the live one is, in one short transaction; it is kept by whom.

        Nobody reads or writes the tables meanwhile, and both stand at the same place: no event is
        lost or folded twice, no statement sees a part of each.

        Raises an error with SQLSTATE KM001 where they do not stand at one place, and one with
        55P03 where a lock was not to be had in 50 ms. CannotRebuildError where the tables are no
        longer alike.
        """
        await _drop_schema(pool, self.before)
        async with pool.acquire() as connection, connection.transaction():
            await self._lock(connection, (self.home, self.schema))
            arguments = (self.name, self.version, self.term)
            await self._exchange(connection, self.schema, WHEN_LEVEL, arguments)
            await connection.execute(f"drop schema {self.schema} cascade")
            await connection.execute(NOTE, by, "rebuilt", self.name, outcome)

    async def take_back(self, pool: asyncpg.Pool, *, by: str) -> None:
        """Put the generation before where the live one is, at the place where it stood then.

        Raises as `take_place` does, and CannotRebuildError where there is none.
        """
        if not await pool.fetchval("select to_regnamespace($1) is not null", self.before):
            raise CannotRebuildError(f"there are no tables of {self.name} from before")
        async with pool.acquire() as connection, connection.transaction():
            await self._lock(connection, (self.home, self.before))
            aside = _quoted(f"{self.name}_aside")
            await connection.execute(f"alter schema {self.before} rename to {aside}")
            await self._exchange(connection, aside, "", (self.name, self.version))
            await connection.execute(f"drop schema {aside} cascade")
            outcome = "the tables from before are live again"
            await connection.execute(NOTE, by, "taken back", self.name, outcome)

    async def _lock(self, connection: asyncpg.Connection, schemas: Sequence[str]) -> None:
        await connection.execute(f"set local lock_timeout = {LOCK_WITHIN_MS}")
        locked = [f"{schema}.{table}" for schema in schemas for table in sorted(self.tables)]
        await connection.execute(f"lock table {', '.join(locked)} in access exclusive mode")
        for table in self.tables:
            live, other = [
                await connection.fetchval(SHAPE, f"{schema}.{_quoted(table)}") for schema in schemas
            ]
            if live != other:
                raise CannotRebuildError(f"{table} was migrated meanwhile: the two are not alike")

    async def _exchange(
        self,
        connection: asyncpg.Connection,
        source: str,
        when: str,
        arguments: tuple[str | int, ...],
    ) -> None:
        """Live tables go to `before`, those of `source` become live; with checkpoint and parked."""
        names = {"home": self.home, "schema": source, "when": when}
        await connection.execute(f"create schema {self.before}")
        for table in KEPT_WITH:
            await connection.execute(
                f"create table {self.before}.{table} (like {self.home}.{table} including all)"
            )
        await connection.execute(
            f"insert into {self.before}.projection_checkpoint"  # noqa: S608  # quoted
            f" select * from {self.home}.projection_checkpoint where name = $1 and version = $2",
            self.name,
            self.version,
        )
        await connection.execute(TAKE_PLACE.format(**names), *arguments)
        for table in KEPT_WITH[1:]:
            leave = MOVE_PARKED.format(to=self.before, source=self.home, table=table)
            enter = MOVE_PARKED.format(to=self.home, source=source, table=table)
            for sql in (leave, FREE_PARKED.format(home=self.home, table=table), enter):
                await connection.execute(sql, self.name, self.version)
        for table in self.tables:
            await connection.execute(
                f"alter table {self.home}.{_quoted(table)} set schema {self.before}"
            )
            await connection.execute(
                f"alter table {source}.{_quoted(table)} set schema {self.home}"
            )

    async def _copy(self, connection: asyncpg.Connection, table: str) -> None:
        """Make a table as the live one is, indexes by the same names included."""
        live, new = f"{self.home}.{_quoted(table)}", f"{self.schema}.{_quoted(table)}"
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
                    f"alter table {new} add constraint {_quoted(row['name'])} {row['bound']}"
                )
                continue
            # The server tells it with the schema's name, quoted only where it has to be.
            begin, on, rest = row["created"].partition(" ON ")
            method = rest[rest.index(" USING ") :]
            await connection.execute(f"{begin}{on}{new}{method}")

    def _sql(self, template: str) -> str:
        return template.format(home=self.home, schema=self.schema)


async def _drop_schema(pool: asyncpg.Pool, schema: str) -> bool:
    """Drop a schema with all its tables. Was there one?"""
    if not await pool.fetchval("select to_regnamespace($1) is not null", schema):
        return False
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"set local lock_timeout = {DROP_WITHIN_MS}")
        await connection.execute(f"drop schema if exists {schema} cascade")
    return True


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
