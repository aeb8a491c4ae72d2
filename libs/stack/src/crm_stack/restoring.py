"""What an operator does to get a PostgreSQL back: base backup, standby, promotion, dump and load.

Everything here is done with PostgreSQL's own programs, to native servers. What comes back comes
back at the address of the server that it is put into, so clients' URLs stay as they are.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from crm_stack.errors import StackError
from crm_stack.postgres import ADMIN, Postgres
from crm_stack.postgres_programs import give_to_server, owned_folder
from crm_stack.processes import run_apart

_COPY_SECONDS = 120
_PROMOTE_SECONDS = 60
_LEVEL_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 0.02
_CONNECT_SECONDS = 10


def base_backup(server: Postgres, name: str) -> Path:
    """Copy the running server's data as it is now into `server.folder`/backups/`name`.

    Raises:
        StackError: there is such a backup, or the server does not give one.
    """
    backup = server.folder / "backups" / name
    if backup.exists():
        raise StackError(f"{backup} is there already")
    owned_folder(backup.parent)
    _copy_into(backup, of=server, by=server)
    return backup


def put_back(server: Postgres, data: Path) -> None:
    """Stop the server, give it a copy of these data for its own, and start it at its address.

    `data` is a base backup, or the folder of another server that is stopped. Of a standby it
    starts as one: `promote` it. What the server had is gone.
    """
    server.stop()
    shutil.rmtree(server.data, ignore_errors=True)
    shutil.copytree(data, server.data)
    give_to_server(server.data)
    server.start()


def renew(server: Postgres) -> None:
    """Stop the server and start it as a new, empty cluster at the same address.

    Roles and databases are gone: `Stack.up` makes the services' anew, `load` fills them.
    """
    server.stop()
    shutil.rmtree(server.data, ignore_errors=True)
    server.start()


def follow(standby: Postgres, primary: Postgres) -> None:
    """Start `standby` as a copy of `primary` that streams from it.

    For a stale one stop it, and start it again when the primary is gone: it knows nothing of the
    time between.
    """
    standby.stop()
    shutil.rmtree(standby.data, ignore_errors=True)
    owned_folder(standby.folder)
    _copy_into(standby.data, of=primary, by=standby, more=("--write-recovery-conf",))
    standby.start()


def wait_level(standby: Postgres, primary: Postgres) -> None:
    """Wait until the standby has replayed everything that the primary has written by now.

    Raises:
        StackError: it has not within a minute.
    """
    run_apart(_level(standby, primary))


def promote(standby: Postgres) -> None:
    """Make the standby a primary, on a timeline of its own.

    Raises:
        StackError: it is none, or is not promoted within a minute.
    """
    if not run_apart(_ask(standby, "select pg_promote(true, $1)", _PROMOTE_SECONDS)):
        raise StackError(f"{standby.name} is not promoted after {_PROMOTE_SECONDS} s")


def is_standby(server: Postgres) -> bool:
    return bool(run_apart(_ask(server, "select pg_is_in_recovery()")))


def dump(server: Postgres, database_url: str) -> Path:
    """Write one database, schema and rows, into `server.folder`/dumps as pg_dump's archive."""
    name = _database(database_url)
    folder = owned_folder(server.folder / "dumps")
    archive = folder / f"{name}.dump"
    server.run(
        "pg_dump",
        f"--dbname={_url(server, name)}",
        "--format=custom",
        f"--file={archive}",
        within_seconds=_COPY_SECONDS,
    )
    return archive


def load(server: Postgres, database_url: str, archive: Path) -> None:
    """Fill an empty database, whose owner exists, from an archive of `dump`, and analyze it.

    Raises:
        StackError: any statement of it failed; nothing of it is kept then.
    """
    database = _database(database_url)
    server.run(
        "pg_restore",
        f"--dbname={_url(server, database)}",
        "--single-transaction",
        str(archive),
        within_seconds=_COPY_SECONDS,
    )
    # A dump has no statistics: until the tables are analyzed queries are planned as if for none.
    run_apart(_ask(server, "analyze", database=database))


def _copy_into(folder: Path, *, of: Postgres, by: Postgres, more: tuple[str, ...] = ()) -> None:
    by.run(
        "pg_basebackup",
        f"--dbname={of.admin_url}",
        f"--pgdata={folder}",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-sync",  # a power cut is not among what is tried with it
        *more,
        within_seconds=_COPY_SECONDS,
    )


def _database(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _url(server: Postgres, database: str) -> str:
    return server.admin_url.removesuffix(f"/{ADMIN}") + f"/{database}"


async def _ask(server: Postgres, sql: str, *arguments: object, database: str = ADMIN) -> Any:  # noqa: ANN401  # a value
    try:
        connection = await asyncpg.connect(_url(server, database), timeout=_CONNECT_SECONDS)
        try:
            return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StackError(f"{server.name} does not answer {sql!r}: {error}") from error


async def _level(standby: Postgres, primary: Postgres) -> None:
    written = await _ask(primary, "select pg_current_wal_lsn()::text")
    replayed = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
    try:
        async with asyncio.timeout(_LEVEL_SECONDS):
            while True:
                if await _ask(standby, replayed, written):
                    return
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
    except TimeoutError as error:
        raise StackError(
            f"{standby.name} has not replayed {written} within {_LEVEL_SECONDS:.0f} s"
        ) from error
