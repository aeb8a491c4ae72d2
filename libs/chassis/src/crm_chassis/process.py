"""One process of a service: its database, its loops in its role, until it is told to end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from crm_kafka.answers import kafka_answers
from crm_projections.telling import told_of
from crm_store.database import close_pool, open_pool
from crm_store.log import epochs
from crm_store.migrations import is_current

from crm_chassis.http.app import probe_app
from crm_chassis.http.health import Health
from crm_chassis.http.serving import http_loop
from crm_chassis.lifecycle import Supervisor

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Sequence

    import asyncpg
    from crm_projections.model import ReadModel
    from crm_store.log.wakeups import Wakeups
    from fastapi import FastAPI

    from crm_chassis.cli import Role
    from crm_chassis.http.live_feed import Feed
    from crm_chassis.lifecycle import Prepare
    from crm_chassis.settings import ServiceSettings


@asynccontextmanager
async def process_pool(settings: ServiceSettings, name: str) -> AsyncGenerator[asyncpg.Pool]:
    """The pool of a process, which need not be connected yet; `name` is shown by PostgreSQL."""
    pool = await open_pool(
        settings.database_url.get_secret_value(),
        application_name=name,
        max_size=settings.database_connections,
    )
    try:
        yield pool
    finally:
        await close_pool(pool)


def health_of(
    settings: ServiceSettings,
    pool: asyncpg.Pool,
    migrations: str,
    models: Sequence[ReadModel],
    stalled: Callable[[], tuple[str, ...]],
) -> Health:
    """What probes are told of the database, the log, Kafka, and loops that stand.

    And of `models`, which this release reads: are its versions built, is one paused?
    """
    return Health(
        migrated=lambda: is_current(pool, migrations),
        log=lambda: epochs.tell(pool),
        kafka=lambda: kafka_answers(settings.kafka_bootstrap),
        stalled=stalled,
        models=lambda: told_of(pool, models),
    )


async def run_process(  # noqa: PLR0913  # each named at the call
    settings: ServiceSettings,
    role: Role,
    stop: asyncio.Event,
    *,
    service: str,
    prepare: Prepare,
    wakeups: Wakeups,
    health: Callable[[Callable[[], tuple[str, ...]]], Health],
    application: Callable[[Callable[[], tuple[str, ...]]], FastAPI],
    add_work: Callable[[Supervisor], None],
    feeds: Sequence[Feed] = (),
) -> bool:
    """Run in this role until `stop`; did all end well?

    `health` and `application` are given what tells which loops stand. A worker answers probes.
    `feeds` are what the application streams live.
    """
    supervisor = Supervisor(
        prepare=prepare,
        stall_seconds=settings.stall_seconds,
        shutdown_seconds=settings.shutdown_seconds,
    )
    if role.answers:
        app = application(supervisor.stalled)
        for feed in feeds:
            supervisor.add(f"live {feed.stream.name}", feed.run)
    else:
        app = probe_app(service, health(supervisor.stalled))
    listening = http_loop(app, host=settings.http_host, port=settings.http_port)
    supervisor.add("http", listening, at_once=True)
    supervisor.add("wakeups", wakeups.run)
    if role.works:
        add_work(supervisor)
    return await supervisor.run(stop)
