"""A second set of a model's tables in a schema of its own, and how it takes the first one's place.

The tables keep their names: whoever reads finds those in the schema of the service. A session that
looks into the other schema first runs the same folds over the other tables, checkpoint and parked
keys included.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
from crm_store.deeds import NOTE
from crm_store.log.position import Position

from crm_projections.copying import CannotRebuildError, copy_table, quoted
from crm_projections.model import BatchModel, tables_of

if TYPE_CHECKING:
    from crm_projections.model import ReadModel

HOLD_S: Final = 2.0
LOCK_WITHIN_MS: Final = 50
"""Reads wait behind who waits for a lock; and that holds a transaction id, which tails wait for."""
DROP_WITHIN_MS: Final = 1_000
LARGEST_TERM: Final = 2**62

# What a fold writes besides its tables.
KEPT_WITH: Final = ("projection_checkpoint", "parked_key", "parked_event")

KNOWN: Final = """
select exists (select from projection_checkpoint where name = $1 and version = $2)
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
where l.name = $1 and l.version = $2 and n.term = $3
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
KEEP_CHECKPOINT: Final = """
insert into {aside}.projection_checkpoint
select * from {home}.projection_checkpoint where name = $1 and version = $2
"""
EXCHANGE_PARKED: Final = (
    """insert into {aside}.{table}
    select * from {home}.{table} where projection = $1 and version = $2""",
    "delete from {home}.{table} where projection = $1 and version = $2",
    """insert into {home}.{table}
    select * from {schema}.{table} where projection = $1 and version = $2""",
)


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
        """The next one of a model; nothing is made yet."""
        home = await pool.fetchval("select current_schema()")
        name, tables = model.name, tables_of(model)
        # No live checkpoint has a term below zero: what looks there by mistake moves nothing.
        term = -random.randrange(1, LARGEST_TERM)  # noqa: S311  # tells two apart, keeps no secret
        marks = model.marks if isinstance(model, BatchModel) else ()
        place = quoted(f"{name}_next")
        return cls(name, model.version, tables, marks, quoted(home), place, term)

    @property
    def before(self) -> str:
        """The schema of the generation that this one replaces."""
        return quoted(f"{self.name}_before")

    @property
    def aside(self) -> str:
        """The schema to which live tables go within a switch."""
        return quoted(f"{self.name}_aside")

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
        if not await pool.fetchval(KNOWN, self.name, self.version):
            raise CannotRebuildError(f"{self.name} {self.version} was never folded here")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                f"drop schema if exists {self.schema} cascade; create schema {self.schema}"
            )
            for table in (*self.tables, *self.marks, *KEPT_WITH):
                await copy_table(connection, table, self.home, self.schema)
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
        left = (self.before, self.schema, self.aside)
        return [one for one in left if await _drop_schema(pool, one)]

    async def both(self, connection: asyncpg.Connection | asyncpg.Pool) -> Both:
        """Where both stand.

        Raises OvertakenError where this generation is gone.
        """
        try:
            row = await connection.fetchrow(self._sql(BOTH), self.name, self.version, self.term)
        except asyncpg.UndefinedTableError:
            row = None
        if row is None:
            raise OvertakenError
        built = Position(row["n_epoch"], int(row["n_xid"]), row["n_gp"])
        return Both(Position(row["epoch"], int(row["xid"]), row["gp"]), built, row["stopped"])

    async def hold(self, pool: asyncpg.Pool) -> Position:
        """Have the live model stand still for 2 s at most; where it does."""
        row = await pool.fetchrow(self._sql(HOLD), self.name, self.version, HOLD_S)
        if row is None:
            raise OvertakenError
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
        deed = (by, "rebuilt", self.name, outcome)
        fence = (self.name, self.version, self.term)
        await self._exchange(pool, self.schema, when=WHEN_LEVEL, fence=fence, deed=deed)

    async def take_back(self, pool: asyncpg.Pool, *, by: str) -> None:
        """Put the generation before where the live one is, at the place where it stood then.

        Raises as `take_place` does, and CannotRebuildError where there is none.
        """
        if not await pool.fetchval("select to_regnamespace($1) is not null", self.before):
            raise CannotRebuildError(f"there are no tables of {self.name} from before")
        deed = (by, "taken back", self.name, "the tables from before are live again")
        fence = (self.name, self.version)
        await self._exchange(pool, self.before, when="", fence=fence, deed=deed)

    async def _exchange(
        self,
        pool: asyncpg.Pool,
        source: str,
        *,
        when: str,
        fence: tuple[str | int, ...],
        deed: tuple[str, ...],
    ) -> None:
        """What is live becomes what was before, what is in `source` becomes live."""
        aside, model = self.aside, (self.name, self.version)
        await self._make_aside(pool)
        tables = [quoted(table) for table in sorted(self.tables)]
        names = {"home": self.home, "schema": source, "aside": aside, "when": when}
        async with pool.acquire() as connection, connection.transaction():
            both = [f"{schema}.{table}" for schema in (self.home, source) for table in tables]
            await connection.execute(
                f"set local lock_timeout = {LOCK_WITHIN_MS};"
                f" lock table {', '.join(both)} in access exclusive mode"
            )
            await self._require_alike(connection, source)
            await connection.execute(KEEP_CHECKPOINT.format(**names), *model)
            await connection.fetchval(TAKE_PLACE.format(**names), *fence)
            for table in KEPT_WITH[1:]:
                for sql in EXCHANGE_PARKED:
                    await connection.execute(sql.format(table=table, **names), *model)
            for table in tables:
                await connection.execute(
                    f"alter table {self.home}.{table} set schema {aside};"
                    f" alter table {source}.{table} set schema {self.home}"
                )
            await connection.execute(
                f"drop schema {source} cascade; drop schema if exists {self.before} cascade;"
                f" alter schema {aside} rename to {self.before}"
            )
            await connection.execute(NOTE, *deed)

    async def _make_aside(self, pool: asyncpg.Pool) -> None:
        aside = self.aside
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                f"drop schema if exists {aside} cascade; create schema {aside}"
            )
            for table in KEPT_WITH:
                await connection.execute(
                    f"create table {aside}.{table} (like {self.home}.{table} including all)"
                )

    async def _require_alike(self, connection: asyncpg.Connection, source: str) -> None:
        for table in self.tables:
            live, other = [
                await connection.fetchval(SHAPE, f"{schema}.{quoted(table)}")
                for schema in (self.home, source)
            ]
            if live != other:
                raise CannotRebuildError(f"{table} was migrated meanwhile: the two are not alike")

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
