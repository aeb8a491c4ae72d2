"""The commands every service has: to run it, to migrate, and what an operator does with it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
from crm_kafka.relay.republish import NothingToRepublishError, republish
from crm_kafka.restore.comparing import DivergedError, HoleError
from crm_kafka.restore.inserting import CannotRecoverError
from crm_kafka.restore.recovering import report
from crm_kafka.topics import WrongTopicError
from crm_store.database import wait_until_migrated
from crm_store.logs import configure_logs
from crm_store.migrations import is_current
from crm_store.tracing import begin_traces

from crm_chassis import apikeys
from crm_chassis.cli_parked import parked_commands, quarantine_commands
from crm_chassis.cli_rebuild import add_rebuild_commands
from crm_chassis.commands import EXIT_FAILED, EXIT_UNSAFE, S, settings_or_exit, with_database
from crm_chassis.lifecycle import run_until_signalled
from crm_chassis.settings import is_superuser_url

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    import asyncpg
    from crm_kafka.restore.recovering import Recovering
    from crm_projections.building import Folded

    from crm_chassis.lifecycle import Prepare
    from crm_chassis.settings import ServiceSettings

_logger = structlog.stdlib.get_logger(__name__)


class Role(StrEnum):
    """What a process of a service does."""

    RUN = "run"  # both, and it migrates first
    API = "api"
    WORKER = "worker"

    @property
    def answers(self) -> bool:
        return self is not Role.WORKER

    @property
    def works(self) -> bool:
        return self is not Role.API


def service_cli(  # noqa: PLR0913  # each named at the call
    name: str,
    *,
    settings: type[S],
    run: Callable[[S, Role, asyncio.Event], Coroutine[Any, Any, bool]],
    migrations: str,
    recovering: Callable[[S, asyncpg.Pool], Recovering] | None = None,
    folded: Callable[[S, asyncpg.Pool], Folded] | None = None,
) -> typer.Typer:
    """The command line of a service; it adds what is its own.

    `run` is the service's bootstrap: it runs until the event is set and answers whether all
    ended well. `migrations` is where Alembic finds them ("contacts:migrations"). `recovering` puts
    `recover` together, for a service that publishes, `folded` what its rebuilds fold.
    """
    app = typer.Typer(
        name=name, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )

    def play(role: Role) -> None:
        told = settings_or_exit(settings)
        configure_logs(name, told.log_format)
        if is_superuser_url(told):
            _logger.warning("settings.superuser", setting="database_url")
        _logger.info("process.starting", role=role.value, instance=told.instance)
        end_traces = begin_traces(name)
        code = run_until_signalled(lambda stop: run(told, role, stop))
        end_traces()
        raise typer.Exit(code)

    @app.command(name="run", help="Answer and work, in one process; migrate first.")
    def _run() -> None:
        play(Role.RUN)

    @app.command(name="api", help="Answer HTTP.")
    def _api() -> None:
        play(Role.API)

    @app.command(name="worker", help="Relay, hear and fold; one at a time does, others stand by.")
    def _worker() -> None:
        play(Role.WORKER)

    @app.command(name="migrate", help="Bring the database to this release.")
    def _migrate() -> None:
        told = settings_or_exit(settings)
        configure_logs(name, told.log_format)
        location = told.database_url.get_secret_value()

        async def migrated(stop: asyncio.Event) -> bool:
            return await _migrate_to_head(location, migrations, beat=lambda: None, stop=stop)

        raise typer.Exit(run_until_signalled(migrated))

    app.command(name="republish", help="Send a topic again, with the numbers it had.")(
        _republish(name, settings)
    )
    if recovering is not None:
        app.command(name="recover", help="Make a restored log whole from Kafka, and open it.")(
            _recover(name, settings, recovering)
        )
    if folded is not None:
        add_rebuild_commands(app, name, settings, folded)
    app.add_typer(_api_keys(name, settings), name="api-keys", help="Who may call the API.")
    app.add_typer(
        parked_commands(name, settings), name="parked", help="What read models could not fold."
    )
    app.add_typer(
        quarantine_commands(name, settings), name="quarantine", help="What could not be heard."
    )
    return app


def prepare_database(
    settings: ServiceSettings, pool: asyncpg.Pool, *, role: Role, migrations: str
) -> Prepare:
    """What comes before all loops: `run` migrates, others wait until somebody has."""

    async def prepare(stop: asyncio.Event, *, beat: Callable[[], None]) -> bool:
        if role is Role.RUN and settings.migrate_on_start:
            location = settings.database_url.get_secret_value()
            return await _migrate_to_head(location, migrations, beat=beat, stop=stop)
        return await wait_until_migrated(lambda: is_current(pool, migrations), stop, beat=beat)

    return prepare


async def _migrate_to_head(
    location: str, migrations: str, *, beat: Callable[[], None], stop: asyncio.Event
) -> bool:
    from crm_store.migrations.running import migrate  # noqa: PLC0415  # slow, for this one alone

    return await migrate(location, migrations, beat=beat, stop=stop)


def _republish(name: str, kind: type[S]) -> Callable[[str, int | None], None]:
    def command(
        topic: Annotated[str, typer.Option(help="One that this service publishes.")],
        from_sequence: Annotated[int | None, typer.Option("--from", min=1)] = None,
    ) -> None:
        async def rewind(_: S, pool: asyncpg.Pool) -> None:
            try:
                rewound = await republish(pool, topic, from_sequence=from_sequence)
            except NothingToRepublishError as nothing:
                typer.echo(str(nothing), err=True)
                raise typer.Exit(EXIT_UNSAFE) from None
            typer.echo(f"{rewound.topic} is sent again from {rewound.position} of the log on")

        with_database(name, kind, rewind)

    return command


def _recover(
    name: str, kind: type[S], recovering: Callable[[S, asyncpg.Pool], Recovering]
) -> Callable[[bool], None]:
    def command(
        dry_run: Annotated[  # noqa: FBT002  # typer's way to say an option
            bool, typer.Option("--dry-run", help="Show what would come back, write nothing.")
        ] = False,
    ) -> None:
        async def work(told: S, pool: asyncpg.Pool) -> None:
            try:
                for line in await report(recovering(told, pool), dry_run=dry_run):
                    typer.echo(line)
            except (CannotRecoverError, DivergedError, HoleError, WrongTopicError) as reason:
                typer.echo(str(reason), err=True)
                raise typer.Exit(EXIT_UNSAFE) from None

        with_database(name, kind, work)

    return command


def _api_keys(name: str, kind: type[S]) -> typer.Typer:
    app = typer.Typer(no_args_is_help=True)

    @app.command(help="Make a key and show it, this once.")
    def create(
        caller: Annotated[str, typer.Argument(help="Who it is for; several keys may be theirs.")],
        scope: Annotated[list[str], typer.Option(help='Such as "scores:read"; repeat for more.')],
    ) -> None:
        key = apikeys.new_api_key()

        async def work(_: S, pool: asyncpg.Pool) -> None:
            try:
                await apikeys.keep_key(pool, key, name=caller, scopes=scope)
            except apikeys.BadKeyNameError as bad:
                typer.echo(str(bad), err=True)
                raise typer.Exit(EXIT_UNSAFE) from None

        with_database(name, kind, work)
        typer.echo(key)

    @app.command(name="list", help="Show what is kept of every key.")
    def _list() -> None:
        async def work(_: S, pool: asyncpg.Pool) -> None:
            for key in await apikeys.list_keys(pool):
                state = "revoked" if key.revoked_at else "live"
                scopes = ",".join(key.scopes)
                typer.echo(f"{key.prefix}\t{state}\t{key.name}\t{scopes}\t{key.created_at:%F %T}")

        with_database(name, kind, work)

    @app.command(help="Shut a key out, by the prefix that list shows.")
    def revoke(prefix: Annotated[str, typer.Argument()]) -> None:
        async def work(_: S, pool: asyncpg.Pool) -> None:
            if not await apikeys.revoke_key(pool, prefix):
                typer.echo(f"no live key begins with {prefix}", err=True)
                raise typer.Exit(EXIT_FAILED)

        with_database(name, kind, work)

    return app
