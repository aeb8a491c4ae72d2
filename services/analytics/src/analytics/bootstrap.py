"""The only place where analytics is put together: settings in, running loops out."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from crm_chassis.apikeys import ApiKeys
from crm_chassis.cli import prepare_database
from crm_chassis.core import Core as SharedCore
from crm_chassis.core import add_loops, core_of
from crm_chassis.http.app import build_app
from crm_chassis.http.live_feed import Feed
from crm_chassis.http.reads import Checkpoints
from crm_chassis.process import health_of, process_pool, run_process
from crm_events.topics import CONTRACT
from crm_kafka.key_reader import KeyReader
from crm_kafka.restore.recovering import Recovering
from crm_projections.building import Folded
from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.lease import Lease
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from analytics.bands.telling import Telling
from analytics.buying.api import buying_router
from analytics.buying.buying import buying
from analytics.customers.links import links
from analytics.engagement.engagement import engagement
from analytics.engagement.registered import register_models
from analytics.freshness import freshness_router
from analytics.leaders.api import leaders_router, page_router
from analytics.leaders.ranked import Ranked
from analytics.leaders.refreshing import Refreshing
from analytics.live.api import live_router
from analytics.live.moves import moves
from analytics.scores.api import scores_router
from analytics.scores.moved import Moved

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable

    import asyncpg
    from crm_chassis.cli import Role
    from crm_chassis.http.health import Health
    from crm_chassis.lifecycle import Prepare, Supervisor
    from crm_projections.model import BatchModel, GlanceModel, ReadModel
    from crm_store.clock import Clock
    from fastapi import FastAPI

    from analytics.engagement.model import ScoringModel
    from analytics.engagement.sums import Batch
    from analytics.settings import AnalyticsSettings

SERVICE: Final = "analytics"
MIGRATIONS: Final = "analytics:migrations"
REDIS_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Core(SharedCore):
    """As of every service, with the scoring models and what is folded by them."""

    models: tuple[ScoringModel, ...]
    links: BatchModel
    scores: tuple[GlanceModel[Batch], ...]
    moves: Feed
    ranked: Ranked | None

    @classmethod
    def of(
        cls,
        settings: AnalyticsSettings,
        pool: asyncpg.Pool,
        clock: Clock = utc_now,
        redis: Redis | None = None,
    ) -> Core:
        base, models = core_of(settings, pool, clock), settings.models
        return cls(
            base.pool,
            base.clock,
            base.wakeups,
            base.keyring,
            base.log,
            models=models,
            links=links([model.model_id for model in models]),
            scores=tuple(engagement(model) for model in models),
            moves=Feed(
                pool=pool,
                contract=CONTRACT,
                stream=moves({model.name: model for model in models}),
                wake=base.wakeups.subscribe(),
                clock=clock,
            ),
            ranked=None if redis is None else Ranked(redis),
        )

    @property
    def read_models(self) -> tuple[ReadModel, ...]:
        # A page is folded in this order, and scores are what somebody waits for.
        return (self.links, *self.scores, buying)


def application(
    settings: AnalyticsSettings, core: Core, *, stalled: Callable[[], tuple[str, ...]]
) -> FastAPI:
    """The HTTP application, on a pool that may not be connected yet."""
    models = {model.name: model for model in core.models}
    checkpoints = Checkpoints(core.pool, core.clock)
    scored = (core.links, *core.scores)
    return build_app(
        title="Kith analytics",
        version="1",
        routers=(
            scores_router(pool=core.pool, models=models, read_models=scored, clock=core.clock),
            leaders_router(
                pool=core.pool,
                models=models,
                read_models=scored,
                clock=core.clock,
                ranked=core.ranked,
            ),
            live_router(pool=core.pool, models=models, feed=core.moves),
            page_router(customer_file_url=settings.customer_file_url),
            buying_router(pool=core.pool, read_models=(core.links, buying), clock=core.clock),
            freshness_router(checkpoints=checkpoints, clock=core.clock),
        ),
        api_keys=ApiKeys(core.pool),
        checkpoints=checkpoints,
        health=_health(settings, core, stalled),
    )


def _health(
    settings: AnalyticsSettings, core: Core, stalled: Callable[[], tuple[str, ...]]
) -> Health:
    health = health_of(settings, core.pool, MIGRATIONS, core.read_models, stalled)
    return health if core.ranked is None else replace(health, details={"redis": core.ranked.tell})


@asynccontextmanager
async def redis_of(settings: AnalyticsSettings) -> AsyncGenerator[Redis | None]:
    """The client, which connects when it is first asked and asks once; None without an address."""
    if settings.redis_url is None:
        yield None
        return
    client = Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
        settings.redis_url.get_secret_value(),
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        client_name=SERVICE,
    )
    try:
        yield client
    finally:
        await client.aclose()


async def run(settings: AnalyticsSettings, role: Role, stop: asyncio.Event) -> bool:
    """Run in this role until `stop`; did all end well?"""
    async with (
        process_pool(settings, f"{SERVICE} {role}") as pool,
        redis_of(settings) as redis,
    ):
        core = Core.of(settings, pool, redis=redis)
        return await run_process(
            settings,
            role,
            stop,
            service=SERVICE,
            prepare=_prepare(settings, core, role),
            wakeups=core.wakeups,
            health=partial(_health, settings, core),
            application=lambda stalled: application(settings, core, stalled=stalled),
            add_work=lambda supervisor: _add_work(supervisor, settings, core),
            feeds=(core.moves,),
        )


def recovering(settings: AnalyticsSettings, pool: asyncpg.Pool) -> Recovering:
    """What makes a restored log whole."""
    return Recovering(
        pool=pool,
        contract=CONTRACT,
        service=SERVICE,
        bootstrap=settings.kafka_bootstrap,
        replication_factor=settings.kafka_replication_factor,
        min_insync=settings.kafka_min_insync,
    )


def folded(settings: AnalyticsSettings, pool: asyncpg.Pool) -> Folded:
    """What a rebuild folds."""
    core = Core.of(settings, pool)
    return Folded(core.log, core.read_models)


def _prepare(settings: AnalyticsSettings, core: Core, role: Role) -> Prepare:
    """Before all loops: the tables, and that each model is the one it was."""
    database = prepare_database(settings, core.pool, role=role, migrations=MIGRATIONS)

    async def prepare(stop: asyncio.Event, *, beat: Callable[[], None]) -> bool:
        if not await database(stop, beat=beat):
            return False
        await register_models(core.pool, core.models)
        return True

    return prepare


def _add_work(supervisor: Supervisor, settings: AnalyticsSettings, core: Core) -> None:
    pool, clock = core.pool, core.clock
    lease = Lease(pool, name="worker", owner=f"{settings.instance} {new_id()}")
    # Nothing here opens personal data yet; a later release does, and needs the keys of the past.
    keys = KeyReader(pool=pool, service=SERVICE, bootstrap=settings.kafka_bootstrap)
    moved = Moved(
        pool=pool,
        log=core.log,
        models=core.models,
        lease=lease,
        clock=clock,
        marks_leaders=core.ranked is not None,
    )
    telling = Telling(pool=pool, log=core.log, models=core.models, lease=lease, clock=clock)

    add_loops(supervisor, settings, core, service=SERVICE, models=core.read_models, lease=lease)
    supervisor.add("moved", moved.run)
    supervisor.add("bands", telling.run)
    if core.ranked is not None:
        refreshing = Refreshing(
            pool=pool, log=core.log, ranked=core.ranked, models=core.models, lease=lease
        )
        supervisor.add("leaders", refreshing.run)
    supervisor.add("keys", keys.run)
