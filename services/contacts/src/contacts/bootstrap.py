"""The only place where contacts is put together: settings in, running loops out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from crm_chassis import apikeys
from crm_chassis.apikeys import ApiKeys
from crm_chassis.cli import prepare_database
from crm_chassis.core import Core, add_loops, core_of
from crm_chassis.http.app import build_app
from crm_chassis.http.handling import Handler
from crm_chassis.http.idempotency import forget_answers
from crm_chassis.http.reads import Checkpoints
from crm_chassis.process import health_of, process_pool, run_process
from crm_events.topics import CONTRACT
from crm_kafka.key_outbox import KeyOutbox
from crm_kafka.restore.recovering import Recovering
from crm_projections.building import Folded
from crm_store.ids import new_id
from crm_store.lease import Lease

from contacts.collector.api import collector_routes
from contacts.collector.collector import Collector, Rules
from contacts.collector.intake import Intake
from contacts.collector.set_aside import Drawer
from contacts.customer_file.api import Files, customer_file_routes
from contacts.customer_file.deals import deals
from contacts.customer_file.scores import scores
from contacts.members.along import MembersAlong
from contacts.members.api import Members, members_routes
from contacts.members.decider import MEMBERS, MailTaken, MemberUnknown
from contacts.members.directory import members
from contacts.members.mails import reserve_anew
from contacts.people.api import People, people_routes
from contacts.people.directory import directory
from contacts.people.registry import Registry
from contacts.people.reserving import Reserved
from contacts.subject_keys import SubjectKeys
from contacts.timeline.timeline import timeline

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import asyncpg
    from crm_chassis.cli import Role
    from crm_chassis.lifecycle import Supervisor
    from crm_projections.model import ReadModel
    from fastapi import FastAPI

    from contacts.settings import ContactsSettings

SERVICE: Final = "contacts"
MIGRATIONS: Final = "contacts:migrations"
READ_MODELS: Final[tuple[ReadModel, ...]] = (directory, members, timeline, scores, deals)

COLLECTOR_PATHS: Final = ("/v1/",)
"""Bodies are bounded by the collector, which answers in the words that SDKs expect."""


def application(
    settings: ContactsSettings, core: Core, *, stalled: Callable[[], tuple[str, ...]]
) -> FastAPI:
    """The HTTP application, on a pool that may not be connected yet."""
    subject_keys = SubjectKeys(core.keyring, settings.keks[0])
    digest_key = settings.digest_key.get_secret_value()
    registry = Registry(
        pool=core.pool,
        log=core.log,
        subject_keys=subject_keys,
        digest_key=digest_key,
        mint_id=new_id,
    )
    members_handler = Handler(
        MEMBERS,
        unknown=MemberUnknown,
        taken=MailTaken,
        pool=core.pool,
        log=core.log,
        clock=core.clock,
        mint_id=new_id,
        along=MembersAlong(subject_keys, digest_key),
    )
    drawer = Drawer(pool=core.pool, keks=settings.keks)
    api_keys = ApiKeys(core.pool)

    async def source_of(write_key: str) -> str | None:
        caller = await api_keys.find(write_key)
        return caller.name if caller and apikeys.COLLECT in caller.scopes else None

    collector = Collector(
        intake=Intake(registry=registry, log=core.log, drawer=drawer, mint_id=new_id),
        source_of=source_of,
        rules=Rules(currency=settings.currency),
        clock=core.clock,
        mint_id=new_id,
    )
    people = People(registry=registry, pool=core.pool, clock=core.clock, region=settings.region)
    return build_app(
        title="Kith contacts",
        version="1",
        routers=(
            collector_routes(collector, drawer),
            people_routes(people),
            members_routes(Members(members_handler, core.pool, new_id)),
            customer_file_routes(Files(core.pool, core.clock)),
        ),
        api_keys=api_keys,
        checkpoints=Checkpoints(core.pool, core.clock),
        health=health_of(settings, core.pool, MIGRATIONS, READ_MODELS, stalled),
        self_limited=COLLECTOR_PATHS,
    )


async def run(settings: ContactsSettings, role: Role, stop: asyncio.Event) -> bool:
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


def recovering(settings: ContactsSettings, pool: asyncpg.Pool) -> Recovering:
    """What makes a restored log whole."""
    digest_key = settings.digest_key.get_secret_value()
    log = core_of(settings, pool).log
    return Recovering(
        pool=pool,
        contract=CONTRACT,
        service=SERVICE,
        bootstrap=settings.kafka_bootstrap,
        replication_factor=settings.kafka_replication_factor,
        min_insync=settings.kafka_min_insync,
        keeps_keys=True,
        reserves=Reserved(log=log, digest_key=digest_key),
        before_it_opens=partial(reserve_anew, pool, log, key=digest_key),
    )


def folded(settings: ContactsSettings, pool: asyncpg.Pool) -> Folded:
    """What a rebuild folds."""
    core = core_of(settings, pool)
    return Folded(core.log, READ_MODELS)


def _add_work(supervisor: Supervisor, settings: ContactsSettings, core: Core) -> None:
    pool = core.pool
    lease = Lease(pool, name="worker", owner=f"{settings.instance} {new_id()}")
    keys = KeyOutbox(
        pool=pool,
        service=SERVICE,
        bootstrap=settings.kafka_bootstrap,
        replication_factor=settings.kafka_replication_factor,
        min_insync=settings.kafka_min_insync,
        lease=lease,
        wake=core.wakeups.subscribe(),
    )
    add_loops(
        supervisor,
        settings,
        core,
        service=SERVICE,
        models=READ_MODELS,
        lease=lease,
        keeps_keys=True,
    )
    supervisor.add("keys", keys.run)
    supervisor.add("answers", partial(forget_answers, pool=pool))
