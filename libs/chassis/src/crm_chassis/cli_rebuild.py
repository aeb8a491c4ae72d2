"""The commands about whole read models: `rebuild`, `pause` and `resume`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final, Generic

import typer
from crm_projections.ahead import build_ahead, drop_old_versions, to_be_built
from crm_projections.copying import CannotRebuildError
from crm_projections.generation import Generation, OvertakenError
from crm_projections.pausing import NotPausedError, pause_model, resume_model
from crm_projections.projector import Projector
from crm_projections.rebuilding import Rebuilding, take_back
from crm_store.clock import utc_now
from crm_store.database import close_pool, open_pool
from crm_store.ids import new_id
from crm_store.lease import Lease

from crm_chassis.commands import EXIT_FAILED, EXIT_UNSAFE, S, operator, with_database
from crm_chassis.progress import telling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection

    import asyncpg
    from crm_projections.building import Folded

CONNECTIONS: Final = 4
LEASED_WITHIN_S: Final = 2.5
"""Longer than the lease of a process that died lasts."""

OWNER: Final = "select owner from lease where name = $1"

Named = Annotated[str, typer.Argument(help="As the read model is called.")]
Model = Annotated[str | None, typer.Argument(help="The read model that is built anew.")]
OnlyCompare = Annotated[bool, typer.Option("--only-compare", help="Say what differs, no more.")]
Back = Annotated[bool, typer.Option("--back", help="Take the last switch of this model back.")]
Ahead = Annotated[bool, typer.Option("--ahead", help="Build what is new in this release; follow.")]
DropOld = Annotated[bool, typer.Option("--drop-old", help="Drop what is live no more.")]
Because = Annotated[str, typer.Option(help="Told to whoever asks why it stands still.")]


def add_rebuild_commands(
    app: typer.Typer, name: str, kind: type[S], folded: Callable[[S, asyncpg.Pool], Folded]
) -> None:
    """Give a service's command line `rebuild`, `pause` and `resume`."""

    def run(work: Callable[[_Operator[S]], Awaitable[None]]) -> None:
        async def told_why(told: S, pool: asyncpg.Pool) -> None:
            try:
                await work(_Operator(name, told, pool, folded))
            except (CannotRebuildError, NotPausedError) as reason:
                typer.echo(str(reason), err=True)
                raise typer.Exit(EXIT_FAILED) from None

        with_database(name, kind, told_why)

    @app.command(help="Build a read model anew beside the live one, compare, and switch.")
    def rebuild(  # typer's way to say options
        model: Model = None,
        *,
        only_compare: OnlyCompare = False,
        back: Back = False,
        ahead: Ahead = False,
        drop_old: DropOld = False,
    ) -> None:
        several = [only_compare, back, ahead, drop_old].count(True) > 1
        if several or (model is None) != (ahead or drop_old):
            typer.echo("name a read model, or say --ahead or --drop-old", err=True)
            raise typer.Exit(EXIT_UNSAFE)
        if model is None:
            run(lambda operator: operator.build_ahead() if ahead else operator.drop_old())
        elif back:
            run(lambda operator: operator.take_back(model))
        else:
            run(lambda operator: operator.rebuild(model, switch=not only_compare))

    @app.command(help="Have nobody fold a read model, reaction or effect until it is resumed.")
    def pause(model: Named, because: Because) -> None:
        run(lambda operator: operator.pause(model, because))

    @app.command(help="Have a paused one folded on from where it stands.")
    def resume(model: Named) -> None:
        run(lambda operator: operator.resume(model))


class _Operator(Generic[S]):
    """One of these commands at work, for whoever asks for it."""

    def __init__(
        self,
        service: str,
        settings: S,
        pool: asyncpg.Pool,
        folded: Callable[[S, asyncpg.Pool], Folded],
    ) -> None:
        self._service = service
        self._settings = settings
        self._pool = pool
        self._folded = folded
        self._by = operator()

    async def rebuild(self, name: str, *, switch: bool) -> None:
        """Build, compare, say what differs, and switch."""
        generation = await self._generation(name)
        async with (
            self._lease(f"rebuild {name}") as lease,
            self._beside(generation.schemas) as beside,
        ):
            folded = self._folded(self._settings, beside)
            projector = _projector(beside, folded, {name}, lease)
            with telling(f"{self._service} {name}") as tell:
                rebuilding = Rebuilding(
                    pool=self._pool,
                    beside=beside,
                    generation=generation,
                    projector=projector,
                    lease=lease,
                    tell=tell,
                )
                try:
                    compared = await rebuilding.build()
                    outcome = f"{compared.rows} rows, {compared.differ} differ"
                    if switch:
                        await rebuilding.switch(by=self._by, outcome=outcome)
                finally:
                    await rebuilding.drop()
        for difference in compared.named:
            typer.echo(str(difference))
        typer.echo(f"{name}: {outcome}{'; what was built is live' if switch else ''}")
        if compared.differ and not switch:
            raise typer.Exit(EXIT_FAILED)

    async def take_back(self, name: str) -> None:
        """Put the tables from before the last switch back."""
        generation = await self._generation(name)
        async with self._lease(f"rebuild {name}"):
            await take_back(self._pool, generation, by=self._by)
        typer.echo(f"{name} is as it was before, and is folded on from there")

    async def build_ahead(self) -> None:
        """Build what this release has and the one at work has not, and keep it level."""
        models = await to_be_built(self._pool, self._folded(self._settings, self._pool).models)
        if not models:
            typer.echo("all that this release reads is built")
            return
        called = ", ".join(f"{model.name} {model.version}" for model in models)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with self._lease("rebuild --ahead") as lease, self._beside(None) as beside:
            folded = self._folded(self._settings, beside)
            with telling(f"{self._service} {called}") as tell:
                taken_over = await build_ahead(
                    beside,
                    _projector(beside, folded, {model.name for model in models}, lease),
                    models,
                    stop=stop,
                    tell=tell,
                    when_level=lambda: typer.echo(f"{called}: level; followed until it is taken"),
                )
        typer.echo(f"{called}: {'a worker folds it' if taken_over else 'left where it stands'}")

    async def drop_old(self) -> None:
        """Drop generations that were replaced, and versions before this release's."""
        models = self._folded(self._settings, self._pool).models
        for model in models:
            generation = await Generation.of(self._pool, model)
            async with self._lease(f"rebuild {model.name}"):
                for schema in await generation.drop_what_is_left(self._pool):
                    typer.echo(f"dropped {schema}")
        for dropped in await drop_old_versions(self._pool, models):
            typer.echo(f"dropped {dropped}")

    async def pause(self, name: str, why: str) -> None:
        await pause_model(self._pool, name, by=self._by, why=why)
        typer.echo(f"{name} is paused")

    async def resume(self, name: str) -> None:
        await resume_model(self._pool, name, by=self._by)
        typer.echo(f"{name} is folded on")

    async def _generation(self, name: str) -> Generation:
        models = self._folded(self._settings, self._pool).models
        for model in models:
            if model.name == name:
                return await Generation.of(self._pool, model)
        known = ", ".join(model.name for model in models)
        raise CannotRebuildError(f"no read model is called {name}: there are {known}")

    @asynccontextmanager
    async def _beside(self, schemas: str | None) -> AsyncGenerator[asyncpg.Pool]:
        """A pool for folding, whose sessions look into these schemas."""
        pool = await open_pool(
            self._settings.database_url.get_secret_value(),
            application_name=f"{self._service} rebuild",
            max_size=CONNECTIONS,
            schemas=schemas,
        )
        try:
            yield pool
        finally:
            await close_pool(pool)

    @asynccontextmanager
    async def _lease(self, name: str) -> AsyncGenerator[Lease]:
        """The right to do this, which one at a time has.

        Raises CannotRebuildError with the name of whoever has it.
        """
        owner = f"{self._by} {self._settings.instance} {new_id()}"
        lease = Lease(self._pool, name=name, owner=owner)
        stop = asyncio.Event()
        renewing = asyncio.create_task(lease.run(stop, beat=lambda: None))
        try:
            if not await lease.wait_held(LEASED_WITHIN_S):
                other = await self._pool.fetchval(OWNER, name)
                raise CannotRebuildError(f"{name} is under way already, by {other}")
            yield lease
        except OvertakenError:
            raise CannotRebuildError(f"{name}: another process does it by now") from None
        finally:
            stop.set()
            await renewing


def _projector(
    pool: asyncpg.Pool, folded: Folded, names: Collection[str], lease: Lease
) -> Projector:
    return Projector(
        pool=pool,
        log=folded.log,
        models=[one for one in folded.models if one.name in names],
        lease=lease,
        wake=asyncio.Event(),
        clock=utc_now,
    )
