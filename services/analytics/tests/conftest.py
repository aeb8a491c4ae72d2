"""Analytics on a real PostgreSQL, as far as its database goes: what it heard, folded and tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from analytics.bands.telling import Telling
from analytics.bootstrap import MIGRATIONS, Core, application
from analytics.engagement.model import ScoringModel, read_model
from analytics.engagement.registered import register_models
from analytics.scores.moved import Moved
from analytics.settings import AnalyticsSettings
from crm_chassis.apikeys import keep_key, new_api_key
from crm_events.keys import Kek
from crm_events.topics import CONTRACT
from crm_projections.projector import Projector
from crm_store.database import close_pool, open_pool
from crm_store.lease import Lease
from crm_store.log.append import Log
from crm_store.log.logged import LoggedEvent
from crm_store.migrations.running import migrate
from heard import MODEL

EMPTY = """
truncate log, stream, engagement, engagement_day, standing, leader_dirty, band, buying, link,
         scoring_model, projection_checkpoint, api_key
"""
BEHIND = """
select exists (select from log l, projection_checkpoint c
               where c.stopped is null and (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp))
"""
HEAR = """
insert into log (epoch, occurred_at, recorded_at, heard_at, sequence, version, schema_version,
                 partition, stream_id, event_id, partition_key, type, topic, data)
select (select max(epoch) from log_epoch), u.occurred_at, u.recorded_at, now(), u.sequence, 1, 1,
       0, u.event_id, u.event_id, u.partition_key, u.type, u.topic, u.data::json
from unnest($1::timestamptz[], $2::timestamptz[], $3::bigint[], $4::uuid[], $5::uuid[],
            $6::text[], $7::text[], $8::text[])
    as u(occurred_at, recorded_at, sequence, event_id, partition_key, type, topic, data)
"""


@dataclass
class Analytics:
    """The worker of analytics without Kafka, turned by hand."""

    pool: asyncpg.Pool
    log: Log
    model: ScoringModel
    projector: Projector
    moved: Moved
    telling: Telling
    heard: int = field(default=0)

    async def hear(self, events: Iterable[LoggedEvent[Any]]) -> None:
        """Write events to the log as the inbox would, in this order."""
        rows = []
        for event in events:
            recorded = event.recorded
            self.heard += 1
            rows.append(
                (
                    recorded.occurred_at, recorded.recorded_at, self.heard, recorded.event_id,
                    recorded.partition_key, recorded.type, recorded.topic, recorded.data,
                )
            )  # fmt: skip
        if rows:
            await self.pool.execute(HEAR, *(list(column) for column in zip(*rows, strict=True)))

    async def fold(self) -> None:
        """Fold all that was heard, also where something holds the tail back for a moment."""
        while await self.projector.turn() or await self.pool.fetchval(BEHIND):
            pass
        stopped = await self.pool.fetch(
            "select name, stopped from projection_checkpoint where stopped is not null"
        )
        assert not stopped, stopped

    async def forget(self) -> None:
        """Begin anew with an empty log."""
        await self.pool.execute(EMPTY)
        self.projector._at.clear()
        await register_models(self.pool, [self.model])

    async def publish(self) -> int:
        """Publish and rank all that is due now; how many that was."""
        taken = 0
        while count := await self.moved.turn(self.model):
            taken += count
        return taken

    async def two_seconds_pass(self) -> None:
        await self.time_passes(timedelta(seconds=2))

    async def time_passes(self, span: timedelta) -> None:
        """Move every mark and every publication so far into the past."""
        await self.pool.execute(
            "with locked as materialized (select model_id, customer_id from engagement "
            "order by model_id, customer_id for no key update) "  # as all who write there
            "update engagement e set due_at = e.due_at - $1::interval, "
            "moved_at = e.moved_at - $1::interval from locked l "
            "where e.model_id = l.model_id and e.customer_id = l.customer_id",
            span,
        )


@pytest.fixture
def model() -> ScoringModel:
    return read_model(MODEL, CONTRACT)


@pytest.fixture(scope="session")
def migrated(stack: Any) -> Iterator[str]:
    """A database of analytics, one for all tests: making one takes longer than most of them."""
    database = stack.fresh_database()
    asyncio.run(migrate(database, MIGRATIONS, beat=lambda: None, stop=asyncio.Event()))
    yield database
    stack.drop_database(database)


@pytest.fixture
def settings(migrated: str, model: ScoringModel) -> AnalyticsSettings:
    return AnalyticsSettings(
        database_url=migrated,
        kafka_bootstrap="127.0.0.1:9",
        http_port=8082,
        keks=(Kek("kek1", bytes(range(32))),),
        models=(model,),
        customer_file_url="http://contacts/customers/{customer_id}",
    )


@pytest.fixture
def emptied() -> Callable[[asyncpg.Pool], Awaitable[object]]:
    """Empties the tables that tests fill."""
    return lambda pool: pool.execute(EMPTY)


@pytest.fixture
async def core(settings: AnalyticsSettings) -> AsyncIterator[Core]:
    database = settings.database_url.get_secret_value()
    async with open_pool(database, application_name="analytics test", max_size=8) as pool:
        await pool.execute(EMPTY)
        yield Core.of(settings, pool)
        await close_pool(pool)


@pytest.fixture
async def analytics(core: Core, model: ScoringModel) -> Analytics:
    await register_models(core.pool, core.models)
    lease = Lease(core.pool, name="worker", owner="test")
    return Analytics(
        pool=core.pool,
        log=core.log,
        model=model,
        projector=Projector(
            pool=core.pool,
            log=core.log,
            models=core.read_models,
            lease=lease,
            wake=core.wakeups.subscribe(),
            clock=core.clock,
        ),
        moved=Moved(
            pool=core.pool,
            log=core.log,
            models=core.models,
            lease=lease,
            clock=core.clock,
            marks_leaders=core.ranked is not None,
        ),
        telling=Telling(
            pool=core.pool, log=core.log, models=core.models, lease=lease, clock=core.clock
        ),
    )


@pytest.fixture
async def http(
    settings: AnalyticsSettings, core: Core, analytics: Analytics
) -> AsyncIterator[httpx.AsyncClient]:
    """A caller who may read everything, of a service that folds when it is told."""
    key = new_api_key()
    await keep_key(core.pool, key, name="tests", scopes=["scores:read", "buying:read"])
    await analytics.fold()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(settings, core, stalled=tuple)),
        base_url="http://analytics",
        headers={"Authorization": f"Bearer {key}"},
    ) as client:
        yield client
