"""The only place where sales is put together: settings in, running loops out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx
from crm_chassis.apikeys import ApiKeys
from crm_chassis.cli import prepare_database
from crm_chassis.clock import utc_now
from crm_chassis.effects.effect import KeyedEffect
from crm_chassis.effects.sending import Sender
from crm_chassis.effects.webhook import WebhookChannel
from crm_chassis.http.app import build_app
from crm_chassis.http.idempotency import forget_answers
from crm_chassis.http.reads import Checkpoints
from crm_chassis.ids import new_id
from crm_chassis.inbox.loop import Inbox
from crm_chassis.key_reader import KeyReader
from crm_chassis.keyring import Keyring
from crm_chassis.lease import Lease
from crm_chassis.log.append import Log
from crm_chassis.log.wakeups import Wakeups
from crm_chassis.process import health_of, process_pool, run_process
from crm_chassis.projection.building import Folded
from crm_chassis.projection.projector import Projector
from crm_chassis.relay.relay import Relay
from crm_chassis.restore.recovering import Recovering
from crm_chassis.watchdog import run_watchdog
from crm_events.topics import CONTRACT, HEARD_BY

from sales.accounts.directory import accounts
from sales.deals import decider
from sales.deals.api import Deals, deals_routes
from sales.deals.handling import Handler
from sales.deals.handover import BACK_OFFICE, hand_over
from sales.deals.pipeline import pipeline
from sales.deals.reads import Reads, reads_routes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import asyncpg
    from crm_chassis.cli import Role
    from crm_chassis.clock import Clock
    from crm_chassis.effects.webhook import Endpoint
    from crm_chassis.lifecycle import Supervisor
    from crm_chassis.projection.model import ReadModel
    from fastapi import FastAPI

    from sales.settings import SalesSettings

SERVICE: Final = "sales"
MIGRATIONS: Final = "sales:migrations"
READ_MODELS: Final[tuple[ReadModel, ...]] = (accounts, pipeline)


@dataclass(frozen=True, slots=True)
class Core:
    """What API and worker share."""

    pool: asyncpg.Pool
    clock: Clock
    wakeups: Wakeups
    keyring: Keyring
    log: Log

    @classmethod
    def of(cls, settings: SalesSettings, pool: asyncpg.Pool, clock: Clock = utc_now) -> Core:
        wakeups = Wakeups(pool)
        keyring = Keyring(pool, settings.keks)
        contract = CONTRACT.writing(settings.writes)
        log = Log(pool=pool, contract=contract, keyring=keyring, clock=clock, wakeups=wakeups)
        return cls(pool, clock, wakeups, keyring, log)


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
    reads = Reads(pool=core.pool, log=core.log, pipelines=settings.pipelines, clock=core.clock)
    return build_app(
        title="Kith sales",
        version="1",
        routers=(deals_routes(deals), reads_routes(reads)),
        api_keys=ApiKeys(core.pool),
        checkpoints=Checkpoints(core.pool, core.clock),
        health=health_of(core.pool, MIGRATIONS, READ_MODELS, stalled),
    )


async def run(settings: SalesSettings, role: Role, stop: asyncio.Event) -> bool:
    """Run in this role until `stop`; did all end well?"""
    async with process_pool(settings, f"{SERVICE} {role}") as pool:
        core = Core.of(settings, pool)
        return await run_process(
            settings,
            role,
            stop,
            service=SERVICE,
            prepare=prepare_database(settings, pool, role=role, migrations=MIGRATIONS),
            wakeups=core.wakeups,
            health=partial(health_of, pool, MIGRATIONS, READ_MODELS),
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
    core = Core.of(settings, pool)
    return Folded(core.log, READ_MODELS)


def _add_work(supervisor: Supervisor, settings: SalesSettings, core: Core) -> None:
    pool, clock = core.pool, core.clock
    owner = f"{settings.instance} {new_id()}"
    lease = Lease(pool, name="worker", owner=owner)
    relay = Relay(
        pool=pool,
        contract=CONTRACT,
        service=SERVICE,
        bootstrap=settings.kafka_bootstrap,
        replication_factor=settings.kafka_replication_factor,
        min_insync=settings.kafka_min_insync,
        lease=lease,
        wake=core.wakeups.subscribe(),
        clock=clock,
    )
    projector = Projector(
        pool=pool,
        log=core.log,
        models=READ_MODELS,
        lease=lease,
        wake=core.wakeups.subscribe(),
        clock=clock,
    )
    inbox = Inbox(
        pool=pool,
        bootstrap=settings.kafka_bootstrap,
        service=SERVICE,
        topics=[topic.name for topic in HEARD_BY[SERVICE]],
        instance=settings.instance,
        wake=core.wakeups.signal,
    )
    keys = KeyReader(pool=pool, service=SERVICE, bootstrap=settings.kafka_bootstrap)

    supervisor.add("lease", lease.run)
    supervisor.add("projector", projector.run)
    supervisor.add("relay", relay.run)
    supervisor.add("inbox", inbox.run)
    supervisor.add("keys", keys.run)
    supervisor.add("watchdog", partial(run_watchdog, pool))
    supervisor.add("answers", partial(forget_answers, pool=pool))
    if (back_office := settings.back_office) is not None:

        async def tell(stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
            # No proxy of the environment: it would resolve again what was checked.
            async with httpx.AsyncClient(trust_env=False) as client:
                sender = sender_of(back_office, core, lease=lease, owner=owner, client=client)
                await sender.run(stop, beat=beat)

        supervisor.add("effects", effects_of(core, lease).run)
        supervisor.add("sender", tell)


def effects_of(core: Core, lease: Lease) -> Projector:
    """What writes down whom to tell; beside the read models, which wait for nobody's telling."""
    return Projector(
        pool=core.pool,
        log=core.log,
        models=(),
        keyed=[KeyedEffect(core.pool, hand_over)],
        lease=lease,
        wake=core.wakeups.subscribe(),
        clock=core.clock,
    )


def sender_of(
    back_office: Endpoint, core: Core, *, lease: Lease, owner: str, client: httpx.AsyncClient
) -> Sender:
    """What tells them."""
    webhooks = WebhookChannel({BACK_OFFICE: back_office}, client=client, clock=core.clock)
    return Sender(
        pool=core.pool, channels={"webhook": webhooks}, lease=lease, owner=owner, clock=core.clock
    )
