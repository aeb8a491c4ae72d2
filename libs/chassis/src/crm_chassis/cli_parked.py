"""The commands about what waits: `parked` (folds) and `quarantine` (records)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from crm_kafka.inbox import quarantine
from crm_projections import parked
from crm_projections.retrying import about
from crm_store.deeds import deeds_about

from crm_chassis.commands import EXIT_FAILED, EXIT_UNSAFE, S, operator, with_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg
    from crm_projections.parked import Ask
    from crm_store.deeds import Deed

    Work = Callable[[asyncpg.Pool], Awaitable[None]]

WAIT_S: Final = 30.0

Projection = Annotated[str, typer.Argument(help="The read model, as `list` shows it.")]
Key = Annotated[str | None, typer.Argument(help="As `list` shows it.")]
Every = Annotated[bool, typer.Option("--all", help="Every parked key of the read model.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come of it, no more.")]
Name = Annotated[str, typer.Argument(help="As `list` shows it: topic/partition/number.")]


def parked_commands(name: str, kind: type[S]) -> typer.Typer:
    """list, show, retry and discard keys that read models go on without."""
    app = typer.Typer(no_args_is_help=True)
    run = _runner(name, kind)

    @app.command(name="list", help="Keys that are parked, the longest parked first.")
    def _list(projection: Annotated[str | None, typer.Option()] = None) -> None:
        run(lambda pool: _list_parked(pool, projection))

    @app.command(help="One key: why it is parked, what waits, what was done about it.")
    def show(projection: Projection, key: Annotated[str, typer.Argument()]) -> None:
        run(lambda pool: _show_parked(pool, projection, key))

    @app.command(help="Fold what waits, in order, by the worker that folds.")
    def retry(
        projection: Projection, key: Key = None, *, every: Every = False, dry_run: DryRun = False
    ) -> None:
        what = "try" if dry_run else "retry"
        run(lambda pool: _ask(pool, what, projection, key, every=every))

    @app.command(help="Pass over what waits: the row goes on without it, for good.")
    def discard(projection: Projection, key: Key = None, *, every: Every = False) -> None:
        run(lambda pool: _ask(pool, "discard", projection, key, every=every))

    return app


def quarantine_commands(name: str, kind: type[S]) -> typer.Typer:
    """list, show, retry and discard records that the inbox kept aside."""
    app = typer.Typer(no_args_is_help=True)
    run = _runner(name, kind)

    @app.command(name="list", help="Records that were kept aside, in the order of the log.")
    def _list() -> None:
        run(_list_quarantined)

    @app.command(help="One record: why it is here, whose it is, what was done about it.")
    def show(record: Name) -> None:
        run(lambda pool: _show_quarantined(pool, record))

    @app.command(help="Read records with this release, in order; those that it can read are heard.")
    def retry(
        record: Annotated[str | None, typer.Argument(help="One of them; else all.")] = None,
        *,
        dry_run: DryRun = False,
    ) -> None:
        run(lambda pool: _retry_quarantined(pool, record, dry_run=dry_run))

    @app.command(help="Give a record up: it is passed over, for good.")
    def discard(record: Name) -> None:
        run(lambda pool: _discard_quarantined(pool, record))

    return app


def _runner(name: str, kind: type[S]) -> Callable[[Work], None]:
    def run(work: Work) -> None:
        async def with_pool(_: S, pool: asyncpg.Pool) -> None:
            await work(pool)

        with_database(name, kind, with_pool)

    return run


async def _list_parked(pool: asyncpg.Pool, projection: str | None) -> None:
    for one in await parked.list_parked(pool, projection):
        asked = f"\t{one.asked} is asked for" if one.asked else ""
        typer.echo(
            f"{one.projection}\t{one.key}\t{one.events} events\t{one.parked_at:%F %T}"
            f"\t{one.reason}{asked}"
        )


async def _show_parked(pool: asyncpg.Pool, projection: str, key: str) -> None:
    found = await parked.list_parked(pool, projection, key)
    if not found:
        raise _failed(f"{key} of {projection} is not parked")
    for one in found:
        typer.echo(f"{one.reason}\n{one.stack}")
        for event in await parked.events_of(pool, one):
            typer.echo(f"{event.event_id}\t{event.type}\t{event.occurred_at:%F %T}")
        _tell(await deeds_about(pool, about(one.projection, one.version, one.key)))


async def _ask(
    pool: asyncpg.Pool, what: Ask, projection: str, key: str | None, *, every: bool
) -> None:
    if (key is None) != every:
        typer.echo("name a key, or say --all", err=True)
        raise typer.Exit(EXIT_UNSAFE)
    by = operator()
    answers, left = await parked.ask(pool, what, projection, key, by=by, within_s=WAIT_S)
    for subject, outcome in answers:
        typer.echo(f"{subject}\t{outcome}")
    if left:
        raise _failed(f"{left} asked for, not done within {WAIT_S:.0f} s: is a worker running?")
    if not answers:
        raise _failed("nothing of that name is parked")


async def _list_quarantined(pool: asyncpg.Pool) -> None:
    for one in await quarantine.list_quarantined(pool):
        typer.echo(f"{one.name}\t{one.partition_key}\t{one.at:%F %T}\t{one.reason}")


async def _show_quarantined(pool: asyncpg.Pool, record: str) -> None:
    one = await _found(pool, record)
    typer.echo(f"{one.reason}\nevent {one.event_id} of {one.partition_key}")
    _tell(await deeds_about(pool, one.name))


async def _retry_quarantined(pool: asyncpg.Pool, record: str | None, *, dry_run: bool) -> None:
    those = [await _found(pool, record)] if record else await quarantine.list_quarantined(pool)
    for one in those:
        try:
            flaw = await quarantine.retry(pool, one, by=operator(), dry_run=dry_run)
        except quarantine.NoSuchRecordError as gone:  # somebody else was faster
            flaw = str(gone)
        typer.echo(f"{one.name}\t{flaw or 'can be read'}")


async def _discard_quarantined(pool: asyncpg.Pool, record: str) -> None:
    one = await _found(pool, record)
    try:
        await quarantine.discard(pool, one, by=operator())
    except quarantine.NoSuchRecordError as gone:  # somebody else was faster
        raise _failed(str(gone)) from None
    typer.echo(f"{one.name} is passed over")


async def _found(pool: asyncpg.Pool, record: str) -> quarantine.Quarantined:
    try:
        return await quarantine.find_quarantined(pool, record)
    except quarantine.NoSuchRecordError as none:
        raise _failed(str(none)) from None


def _tell(deeds: list[Deed]) -> None:
    for deed in deeds:
        typer.echo(f"{deed.at:%F %T}\t{deed.by}\t{deed.what}\t{deed.outcome}")


def _failed(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(EXIT_FAILED)
