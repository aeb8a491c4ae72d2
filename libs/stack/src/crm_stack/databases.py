"""A database and the one role that may connect to it, made and dropped by the superuser."""

import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from crm_stack.errors import StackError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")
_CONNECT_SECONDS = 10
_COMMAND_SECONDS = 60


async def create_database(admin_url: str, *, name: str, password: str) -> str:
    """Make database and role `name` where they are missing, and set the role's password.

    Returns:
        The URL by which the role connects to its database.

    Raises:
        StackError: `name` is not a plain lower-case name, or the server cannot be reached.
    """
    if not _NAME.fullmatch(name) or not re.fullmatch(r"[0-9a-f]+", password):
        raise StackError(f"{name!r} cannot name a database: a-z, 0-9 and _ only, a letter first")
    async with _connected(admin_url) as admin:
        known = await admin.fetchval("select true from pg_roles where rolname = $1", name)
        verb = "alter" if known else "create"
        await admin.execute(f"{verb} role {name} login nosuperuser password '{password}'")
        if not await admin.fetchval("select true from pg_database where datname = $1", name):
            await admin.execute(f"grant {name} to current_user")
            await admin.execute(f"create database {name} owner {name} template template0")
        await admin.execute(f"revoke all on database {name} from public")
    target = urlsplit(admin_url)
    place = target.netloc.rpartition("@")[2]
    return urlunsplit(("postgresql", f"{name}:{password}@{place}", f"/{name}", target.query, ""))


async def copy_database(admin_url: str, *, template: str, name: str) -> None:
    """Make database `name` with all that is in `template`, of the same owner.

    Nobody may be connected to the template meanwhile.
    """
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(template):
        raise StackError(f"{name!r} or {template!r} is not a database of ours")
    async with _connected(admin_url) as admin:
        await admin.execute(f"create database {name} owner {template} template {template}")
        await admin.execute(f"revoke all on database {name} from public")


async def drop_database(admin_url: str, *, name: str) -> None:
    """Drop database and role `name`, whoever is still connected."""
    if not _NAME.fullmatch(name):
        raise StackError(f"{name!r} is not a database of ours")
    async with _connected(admin_url) as admin:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.execute(f"drop role if exists {name}")


async def close_to_public(admin_url: str) -> None:
    """Let only the superuser connect to the databases that every cluster has."""
    async with _connected(admin_url) as admin:
        await admin.execute("revoke all on database postgres from public")
        await admin.execute("revoke all on database template1 from public")


@contextlib.asynccontextmanager
async def _connected(admin_url: str) -> AsyncGenerator[Any]:
    try:
        connection = await asyncpg.connect(
            admin_url, timeout=_CONNECT_SECONDS, command_timeout=_COMMAND_SECONDS
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        place = urlsplit(admin_url).netloc.rpartition("@")[2]
        raise StackError(f"PostgreSQL at {place} does not let us in: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()
