"""analytics with its inbox and its scores and nothing else, a process as `whole` measures it.

Settings as of analytics' worker; the one argument names the consumer group.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from analytics.bootstrap import SERVICE, Core
from analytics.settings import AnalyticsSettings
from crm_chassis.commands import settings_or_exit
from crm_chassis.lifecycle import Supervisor, run_until_signalled
from crm_events.topics import HEARD_BY
from crm_kafka.inbox.loop import Inbox
from crm_projections.projector import Projector
from crm_store.database import close_pool, open_pool
from crm_store.ids import new_id
from crm_store.lease import Lease
from crm_store.logs import configure_logs

APPLICATION_NAME = f"{SERVICE} scores"


async def run(settings: AnalyticsSettings, group: str, stop: asyncio.Event) -> bool:
    """As `analytics.bootstrap` puts its worker together, on a database that is migrated."""
    pool = await open_pool(
        settings.database_url.get_secret_value(),
        application_name=APPLICATION_NAME,
        max_size=settings.database_connections,
    )
    core = Core.of(settings, pool)
    lease = Lease(pool, name="worker", owner=f"{settings.instance} {new_id()}")
    projector = Projector(
        pool=pool,
        log=core.log,
        models=core.scores,
        lease=lease,
        wake=core.wakeups.subscribe(),
        clock=core.clock,
    )
    inbox = Inbox(
        pool=pool,
        bootstrap=settings.kafka_bootstrap,
        service=group,
        topics=[topic.name for topic in HEARD_BY[SERVICE]],
        instance=settings.instance,
        wake=core.wakeups.signal,
    )
    supervisor = Supervisor(
        stall_seconds=settings.stall_seconds, shutdown_seconds=settings.shutdown_seconds
    )
    supervisor.add("wakeups", core.wakeups.run)
    supervisor.add("lease", lease.run)
    supervisor.add("projector", projector.run)
    supervisor.add("inbox", inbox.run)
    try:
        return await supervisor.run(stop)
    finally:
        await close_pool(pool)


def main() -> None:
    settings = settings_or_exit(AnalyticsSettings)
    configure_logs(SERVICE, settings.log_format)
    raise SystemExit(run_until_signalled(partial(run, settings, sys.argv[1])))


if __name__ == "__main__":
    main()
