"""Pausing a model and letting it go on: at once, and kept for good who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm_store.deeds import NOTE

if TYPE_CHECKING:
    import asyncpg

LONGEST_REASON: Final = 500

# The term rises: a page that is being folded writes nothing any more, and its owner looks again.
PAUSE: Final = """
update projection_checkpoint
set term = term + 1, paused_at = clock_timestamp(), paused_by = $2, paused_for = $3
where name = $1 and paused_at is null
returning version
"""
RESUME: Final = """
update projection_checkpoint
set term = term + 1, paused_at = null, paused_by = null, paused_for = null
where name = $1 and paused_at is not null
returning version
"""
KNOWN: Final = "select exists (select from projection_checkpoint where name = $1)"


class NotPausedError(Exception):
    """Nothing was to be done; its text says why."""


async def pause_model(pool: asyncpg.Pool, name: str, *, by: str, why: str) -> None:
    """Have nobody fold a model any more, in any of its versions, until it is resumed.

    Raises NotPausedError where it is paused, or unknown here.
    """
    arguments = (name, by, why[:LONGEST_REASON])
    await _change(pool, PAUSE, arguments, by=by, what="paused", outcome=why, already="paused")


async def resume_model(pool: asyncpg.Pool, name: str, *, by: str) -> None:
    """Have a model folded on from where it stands.

    Raises NotPausedError where it is not paused, or unknown here.
    """
    outcome = "it is folded on"
    await _change(pool, RESUME, (name,), by=by, what="resumed", outcome=outcome, already="at work")


async def _change(  # noqa: PLR0913  # each named at the call
    pool: asyncpg.Pool,
    sql: str,
    arguments: tuple[str, ...],
    *,
    by: str,
    what: str,
    outcome: str,
    already: str,
) -> None:
    name = arguments[0]
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetch(sql, *arguments):
            await connection.execute(NOTE, by, what, name, outcome)
            return
        known = await connection.fetchval(KNOWN, name)
    raise NotPausedError(f"{name} is {already}" if known else f"nothing here is called {name}")
