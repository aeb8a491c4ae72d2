"""What each short command of a service stands on: its settings, its database, how it fails."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Final, TypeVar

import typer
from aiokafka.errors import KafkaError
from crm_store.database import close_pool, open_pool
from crm_store.errors import is_dependency_error
from crm_store.logs import configure_logs, safe_text

from crm_chassis.event_loop import event_loop
from crm_chassis.settings import ServiceSettings, UnsafeSettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

S = TypeVar("S", bound=ServiceSettings)

EXIT_FAILED: Final = 1
EXIT_UNSAFE: Final = 2
COMMAND_CONNECTIONS: Final = 2


def settings_or_exit(kind: type[S]) -> S:
    """The settings; or one line per unsafe one, by its name, and exit code 2."""
    try:
        return load_settings(kind)
    except UnsafeSettingsError as unsafe:
        for line in unsafe.lines:
            typer.echo(line, err=True)
        raise typer.Exit(EXIT_UNSAFE) from None


def operator() -> str:
    """Who gave the command, as is kept with what came of it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container, whose user has a number and no name
        return f"uid {os.getuid()}"


def with_database(
    name: str, kind: type[S], work: Callable[[S, asyncpg.Pool], Awaitable[None]]
) -> None:
    """Run a short command of a service against its database; exit 1 in one line if one is away."""
    told = settings_or_exit(kind)
    configure_logs(name, told.log_format)

    async def worked() -> None:
        pool = await open_pool(
            told.database_url.get_secret_value(),
            application_name=f"{name} command",
            max_size=COMMAND_CONNECTIONS,
        )
        try:
            await work(told, pool)
        finally:
            await close_pool(pool)

    try:
        with event_loop() as runner:
            runner.run(worked())
    except Exception as error:
        if not is_dependency_error(error):
            raise
        what = "Kafka" if isinstance(error, KafkaError) else "the database"
        typer.echo(f"{what} is away: {type(error).__name__} {safe_text(error)}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
