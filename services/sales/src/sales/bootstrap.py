"""The only place where sales is put together: settings in, running loops out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import httpx
from crm_chassis.apikeys import ApiKeys
from crm_chassis.cli import prepare_database
from crm_chassis.core import Core, add_loops, core_of
from crm_chassis.http.app import build_app
from crm_chassis.http.handling import Handler
from crm_chassis.http.idempotency import forget_answers
from crm_chassis.http.reads import Checkpoints
from crm_chassis.process import health_of, process_pool, run_process
from crm_deciding.effects.effect import KeyedEffect
from crm_deciding.effects.mail import MailChannel
from crm_deciding.effects.sending import Sender
from crm_deciding.effects.webhook import WebhookChannel
from crm_deciding.reacting import KeyedReaction
from crm_deciding.timers import Timers
from crm_events.topics import CONTRACT
from crm_kafka.key_reader import KeyReader
from crm_kafka.restore.recovering import Recovering
from crm_projections.building import Folded
from crm_projections.projector import Projector
from crm_store.ids import new_id
from crm_store.lease import Lease

from sales.accounts.directory import accounts
from sales.deals import decider
from sales.deals.api import Deals, deals_routes
from sales.deals.handover import BACK_OFFICE, hand_over
from sales.deals.pipeline import pipeline
from sales.deals.reads import Reads, reads_routes
from sales.members.directory import address_of, members
from sales.tasks.api import Tasks, tasks_routes
from sales.tasks.decider import TASKS, TaskUnknown
from sales.tasks.follow_up import follow_up
from sales.tasks.notice import notice
from sales.tasks.todo import todo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import asyncpg
    from crm_chassis.cli import Role
    from crm_chassis.lifecycle import Supervisor
    from crm_deciding.effects.effect import Effect
    from crm_deciding.effects.sending import Channel
    from crm_projections.model import ReadModel
    from fastapi import FastAPI

    from sales.settings import SalesSettings

SERVICE: Final = "sales"
MIGRATIONS: Final = "sales:migrations"
READ_MODELS: Final[tuple[ReadModel, ...]] = (accounts, members, pipeline, todo)


def application(
    settings: SalesSettings, core: Core, *, stalled: Callable[[], tuple[str, ...]]
) -> FastAPI:
    """The HTTP application, on a pool that may not be connected yet."""
    handler = Handler(
        decider.deals(settings.pipelines),
        unknown=decider.DealUnknown,
        pool=core.pool,
        log=core.log,
        clock=core.clock,
        mint_id=new_id,
    )
    deals = Deals(
        handler=handler,
        pool=core.pool,
        mint_id=new_id,
        today=lambda: core.clock().astimezone(settings.time_zone).date(),
    )
    tasks = Handler(
        TASKS,
        unknown=TaskUnknown,
        pool=core.pool,
        log=core.log,
        clock=core.clock,
        mint_id=new_id,
    )
    reads = Reads(
        pool=core.pool,
        log=core.log,
        pipelines=settings.pipelines,
        clock=core.clock,
        time_zone=settings.time_zone,
    )
    return build_app(
        title="Kith sales",
        version="1",
        routers=(
            deals_routes(deals),
            reads_routes(reads),
            tasks_routes(Tasks(handler=tasks, pool=core.pool)),
        ),
        api_keys=ApiKeys(core.pool),
        checkpoints=Checkpoints(core.pool, core.clock),
        health=health_of(settings, core.pool, MIGRATIONS, READ_MODELS, stalled),
    )


async def run(settings: SalesSettings, role: Role, stop: asyncio.Event) -> bool:
    """Run in this role until `stop`; did all end well?"""
    async with process_pool(settings, f"{SERVICE} {role}") as pool:
        core = core_of(settings, pool)
        return await run_process(
            settings,
            role,
            stop,
            service=SERVICE,
            prepare=prepare_database(settings, pool, role=role, migrations=MIGRATIONS),
            wakeups=core.wakeups,
            health=partial(health_of, settings, pool, MIGRATIONS, READ_MODELS),
            application=lambda stalled: application(settings, core, stalled=stalled),
            add_work=lambda supervisor: _add_work(supervisor, settings, core),
        )


def recovering(settings: SalesSettings, pool: asyncpg.Pool) -> Recovering:
    """What makes a restored log whole."""
    return Recovering(
        pool=pool,
        contract=CONTRACT,
        service=SERVICE,
        bootstrap=settings.kafka_bootstrap,
        replication_factor=settings.kafka_replication_factor,
        min_insync=settings.kafka_min_insync,
    )


def folded(settings: SalesSettings, pool: asyncpg.Pool) -> Folded:
    """What a rebuild folds."""
    core = core_of(settings, pool)
    return Folded(core.log, READ_MODELS)


def _add_work(supervisor: Supervisor, settings: SalesSettings, core: Core) -> None:
    pool, clock = core.pool, core.clock
    owner = f"{settings.instance} {new_id()}"
    lease = Lease(pool, name="worker", owner=owner)
    keys = KeyReader(pool=pool, service=SERVICE, bootstrap=settings.kafka_bootstrap)

    add_loops(supervisor, settings, core, service=SERVICE, models=READ_MODELS, lease=lease)
    supervisor.add("keys", keys.run)
    supervisor.add("answers", partial(forget_answers, pool=pool))
    supervisor.add("timers", timers_of(settings, core, lease).run)
    supervisor.add("following", following_of(settings, core, lease).run)
    if effects_of(settings):

        async def send(stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
            # No proxy of the environment: it would resolve again what was checked.
            async with httpx.AsyncClient(trust_env=False) as client:
                channels = channels_of(settings, core, client)
                sender = Sender(pool=pool, channels=channels, lease=lease, owner=owner, clock=clock)
                await sender.run(stop, beat=beat)

        supervisor.add("sender", send)


def timers_of(settings: SalesSettings, core: Core, lease: Lease) -> Timers:
    """What tells deals that they have stood in their stage for too long."""
    return Timers(
        pool=core.pool,
        log=core.log,
        deciders=[decider.deals(settings.pipelines)],
        lease=lease,
        clock=core.clock,
        mint_id=new_id,
    )


def following_of(settings: SalesSettings, core: Core, lease: Lease) -> Projector:
    """Reactions and effects; beside the read models, which wait for nobody's deciding."""
    reaction = KeyedReaction(
        core.pool,
        follow_up(settings.time_zone),
        log=core.log,
        clock=core.clock,
        mint_id=new_id,
    )
    effects = [KeyedEffect(core.pool, effect) for effect in effects_of(settings)]
    return Projector(
        pool=core.pool,
        log=core.log,
        models=(),
        keyed=[reaction, *effects],
        lease=lease,
        wake=core.wakeups.subscribe(),
        clock=core.clock,
    )


def effects_of(settings: SalesSettings) -> tuple[Effect, ...]:
    """What is told, as far as the settings say where."""
    told = ((hand_over, settings.back_office), (notice, settings.mail_server))
    return tuple(effect for effect, where in told if where is not None)


def channels_of(
    settings: SalesSettings, core: Core, client: httpx.AsyncClient
) -> dict[str, Channel]:
    """The ways out that the settings open."""
    channels: dict[str, Channel] = {}
    if (back_office := settings.back_office) is not None:
        endpoints = {BACK_OFFICE: back_office}
        channels["webhook"] = WebhookChannel(endpoints, client=client, clock=core.clock)
    if (server := settings.mail_server) is not None:
        address = partial(address_of, core.pool)
        channels["mail"] = MailChannel(server, address_of=address, clock=core.clock)
    return channels
