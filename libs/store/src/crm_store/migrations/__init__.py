"""The chassis' own tables, and whether a database has all that a release asks for.

What runs migrations is in `running`: Alembic takes a while to import, and no start needs it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal, cast

import asyncpg

if TYPE_CHECKING:
    from alembic.operations import Operations
    from sqlalchemy.engine.interfaces import AdaptedConnection

Release = Literal["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"]
RELEASES: Final[tuple[Release, ...]] = ("v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9")


def statements(release: Release) -> str:
    """The SQL of a release of the chassis' tables: several statements, with function bodies."""
    return resources.files(__name__).joinpath(f"{release}.sql").read_text(encoding="utf-8")


def apply_chassis(operations: Operations, release: Release) -> None:
    """Run a release of the chassis' tables within a service's own migration.

    A service's first one: `def upgrade() -> None: apply_chassis(op, "v1")`.
    """
    bind = operations.get_bind()
    # SQLAlchemy begins at its first own statement; what the driver runs before it would commit
    # by itself.
    bind.exec_driver_sql("select 1")
    adapted = cast("AdaptedConnection", bind.connection.dbapi_connection)
    # The dialect prepares each statement, and a prepared one cannot be several.
    adapted.run_async(lambda driver: driver.execute(statements(release)))


async def install(dsn: str) -> None:
    """The chassis' tables in an empty database, without a service around them (for tests)."""
    connection = await asyncpg.connect(dsn)
    try:
        for release in RELEASES:
            await connection.execute(statements(release))
    finally:
        await connection.close()


async def is_current(pool: asyncpg.Pool, location: str) -> bool:
    """Has the database all that is in `location`, or even more?

    More is what a later release brought while this one still runs: it goes on working.
    """
    if not await pool.fetchval("select to_regclass('alembic_version') is not null"):
        return False
    rows = await pool.fetch("select version_num from alembic_version")
    found = {cast("str", row["version_num"]) for row in rows}
    newest, known = _revisions(location)
    return bool(found) and (newest in found or not found <= known)


@cache
def _revisions(location: str) -> tuple[str, frozenset[str]]:
    """The newest and all migrations of this release: each bears its number in its file's name."""
    package, _, folder = location.partition(":")
    files = resources.files(package).joinpath(folder, "versions").iterdir()
    known = frozenset(file.name.partition("_")[0] for file in files if file.name[0].isdigit())
    return max(known), known
