"""What the processes of a service share, and the loops that each of its workers runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from crm_events.topics import CONTRACT, HEARD_BY
from crm_kafka.inbox.loop import Inbox
from crm_kafka.relay.relay import Relay
from crm_kafka.restore.settling import Settling
from crm_projections.projector import Projector
from crm_store.clock import utc_now
from crm_store.keyring import Keyring
from crm_store.log.append import Log
from crm_store.log.wakeups import Wakeups
from crm_store.watchdog import run_watchdog

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from crm_projections.model import ReadModel
    from crm_store.clock import Clock
    from crm_store.lease import Lease

    from crm_chassis.lifecycle import Supervisor
    from crm_chassis.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Core:
    """What API and worker share."""

    pool: asyncpg.Pool
    clock: Clock
    wakeups: Wakeups
    keyring: Keyring
    log: Log


def core_of(settings: ServiceSettings, pool: asyncpg.Pool, clock: Clock = utc_now) -> Core:
    """The core on a pool that may not be connected yet."""
    wakeups = Wakeups(pool)
    keyring = Keyring(pool, settings.keks)
    contract = CONTRACT.writing(settings.writes)
    log = Log(pool=pool, contract=contract, keyring=keyring, clock=clock, wakeups=wakeups)
    return Core(pool, clock, wakeups, keyring, log)


def add_loops(  # noqa: PLR0913  # each named at the call
    supervisor: Supervisor,
    settings: ServiceSettings,
    core: Core,
    *,
    service: str,
    models: Sequence[ReadModel],
    lease: Lease,
    keeps_keys: bool = False,
) -> None:
    """Have a worker relay, hear, fold these models, and end what holds the log up.

    `keeps_keys`: the subject keys are this service's own.
    """
    settling = Settling(
        pool=core.pool,
        contract=CONTRACT,
        service=service,
        bootstrap=settings.kafka_bootstrap,
        keeps_keys=keeps_keys,
    )
    relay = Relay(
        pool=core.pool,
        contract=CONTRACT,
        service=service,
        bootstrap=settings.kafka_bootstrap,
        replication_factor=settings.kafka_replication_factor,
        min_insync=settings.kafka_min_insync,
        lease=lease,
        wake=core.wakeups.subscribe(),
        clock=core.clock,
        settled=settling.settled,
    )
    projector = Projector(
        pool=core.pool,
        log=core.log,
        models=models,
        lease=lease,
        wake=core.wakeups.subscribe(),
        clock=core.clock,
    )
    inbox = Inbox(
        pool=core.pool,
        bootstrap=settings.kafka_bootstrap,
        service=service,
        topics=[topic.name for topic in HEARD_BY[service]],
        instance=settings.instance,
        wake=core.wakeups.signal,
    )
    supervisor.add("lease", lease.run)
    supervisor.add("projector", projector.run)
    supervisor.add("relay", relay.run)
    supervisor.add("inbox", inbox.run)
    supervisor.add("watchdog", partial(run_watchdog, core.pool))
