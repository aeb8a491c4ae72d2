"""`python -m probe_service run`, as any service is run."""

import asyncio
import os
from typing import Annotated

import typer
from crm_chassis.apikeys import ApiKeys, Caller
from crm_chassis.cli import Role, prepare_database, service_cli
from crm_chassis.http.access import requires
from crm_chassis.http.app import build_app
from crm_chassis.http.reads import Checkpoints
from crm_chassis.http.serving import http_loop
from crm_chassis.lifecycle import Supervisor
from crm_chassis.process import health_of
from crm_chassis.settings import ServiceSettings
from crm_store.clock import utc_now
from crm_store.database import close_pool, open_pool, pause
from fastapi import APIRouter, Depends
from pydantic_settings import SettingsConfigDict

MIGRATIONS = "probe_service:migrations"

router = APIRouter()


class ProbeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_")


@router.get("/slow")
async def slow(caller: Annotated[Caller, Depends(requires("things:read"))]) -> str:
    """Long enough for a signal to come in between; says when it has begun."""
    typer.echo("begun")
    await asyncio.sleep(0.5)
    return caller.name


async def work(stop: asyncio.Event, *, beat) -> None:
    if "PROBE_BREAKS" in os.environ:
        raise KeyError("a bug")
    if "PROBE_WEDGES" in os.environ:
        await asyncio.Event().wait()
    while not await pause(stop, 0.1):
        beat()


async def run(settings: ProbeSettings, role: Role, stop: asyncio.Event) -> bool:
    pool = await open_pool(
        settings.database_url.get_secret_value(), application_name="probe", max_size=2
    )
    supervisor = Supervisor(
        prepare=prepare_database(settings, pool, role=role, migrations=MIGRATIONS),
        stall_seconds=settings.stall_seconds,
        shutdown_seconds=settings.shutdown_seconds,
    )
    if role.answers:
        app = build_app(
            title="probe",
            version="1",
            routers=[router],
            api_keys=ApiKeys(pool),
            checkpoints=Checkpoints(pool, utc_now),
            health=health_of(settings, pool, MIGRATIONS, (), supervisor.stalled),
        )
        serve = http_loop(app, host=settings.http_host, port=settings.http_port)
        supervisor.add("http", serve, at_once=True)
    if role.works:
        supervisor.add("work", work)
    ended_well = await supervisor.run(stop)
    await close_pool(pool)
    return ended_well


commands = service_cli("probe", settings=ProbeSettings, run=run, migrations=MIGRATIONS)

if __name__ == "__main__":
    commands()
