"""The versions of a release built before it serves, beside the release that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm_store.database import pause
from crm_store.errors import LOST, backoff, sqlstate
from crm_store.log.tail import head
from crm_store.log.wakeups import POLL_SECONDS

from crm_projections.checkpoints import SharedTableError, register, standings
from crm_projections.copying import CannotRebuildError, quoted
from crm_projections.generation import DROP_WITHIN_MS
from crm_projections.model import tables_of
from crm_projections.projector import interrupts

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import asyncpg

    from crm_projections.building import Tell
    from crm_projections.model import ReadModel
    from crm_projections.projector import Projector

AT_REST_S: Final = 60
"""So long nobody may have folded a version that is dropped."""

OLD: Final = """
select c.name, c.version, c.tables, c.moved_at > now() - make_interval(secs => $3) as at_work
from projection_checkpoint c
join unnest($1::text[], $2::int[]) as u(name, version) on u.name = c.name
where c.version < u.version and cardinality(c.tables) > 0
order by c.name, c.version
"""
FORGET: Final = (
    "delete from parked_event where projection = $1 and version = $2",
    "delete from parked_key where projection = $1 and version = $2",
    "delete from projection_checkpoint where name = $1 and version = $2",
)


async def to_be_built(pool: asyncpg.Pool, models: Sequence[ReadModel]) -> list[ReadModel]:
    """Those that have not been level with the log yet.

    Raises CannotRebuildError where one would be folded into another version's rows.
    """
    try:
        await register(pool, models)
    except SharedTableError as shared:
        raise CannotRebuildError(str(shared)) from shared
    known = await standings(pool, [(model.name, model.version) for model in models])
    return [model for model in models if not known[model.name, model.version].built]


async def build_ahead(  # noqa: PLR0913  # each named at the call
    pool: asyncpg.Pool,
    projector: Projector,
    models: Sequence[ReadModel],
    *,
    stop: asyncio.Event,
    tell: Tell,
    when_level: Callable[[], None],
) -> bool:
    """Fold these models, and keep them level until `stop` or until a worker of theirs folds them.

    `when_level` is called once, when answers can be given from them. Has a worker taken over?
    """
    names = [(model.name, model.version) for model in models]
    level, attempt = False, 0
    while not stop.is_set():
        try:
            behind = await projector.turn()
            if not level:
                known = await standings(pool, names)
                tell(min(at.position.gp for at in known.values()), (await head(pool)).gp)
                level = all(at.built for at in known.values())
                if level:
                    when_level()
            attempt = 0
        except Exception as error:
            if not interrupts(error):
                raise
            if sqlstate(error) == LOST and await projector.overtaken():
                return True
            await projector.forget()
            await pause(stop, backoff(attempt))
            attempt += 1
            continue
        if not behind:
            await pause(stop, POLL_SECONDS)
    return False


async def drop_old_versions(pool: asyncpg.Pool, models: Sequence[ReadModel]) -> list[str]:
    """Drop the tables of versions before those of this release; what was dropped.

    Raises CannotRebuildError where somebody still folds one of them.
    """
    names, versions = [model.name for model in models], [model.version for model in models]
    kept = {table for model in models for table in tables_of(model)}
    old = await pool.fetch(OLD, names, versions, AT_REST_S)
    for row in old:
        if row["at_work"]:
            raise CannotRebuildError(
                f"{row['name']} {row['version']} was folded within {AT_REST_S} s: end its release"
            )
    dropped: list[str] = []
    for row in old:
        tables = [table for table in row["tables"] if table not in kept]
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"set local lock_timeout = {DROP_WITHIN_MS}")
            for table in tables:
                await connection.execute(f"drop table if exists {quoted(table)}")
            for sql in FORGET:
                await connection.execute(sql, row["name"], row["version"])
        dropped.append(f"{row['name']} {row['version']}: {', '.join(tables)}")
    return dropped
