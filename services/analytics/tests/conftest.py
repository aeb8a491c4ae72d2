"""Analytics on a real PostgreSQL, as far as its database goes: what it heard, folded and tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from analytics.bootstrap import MIGRATIONS
from analytics.buying.buying import buying
from analytics.customers.links import links
from analytics.engagement.engagement import engagement
from analytics.engagement.model import ScoringModel, read_model
from analytics.engagement.moved import Moved
from analytics.engagement.registered import register_models
from crm_chassis.clock import utc_now
from crm_chassis.database import close_pool, open_pool
from crm_chassis.keyring import Keyring
from crm_chassis.lease import Lease
from crm_chassis.log.append import Log
from crm_chassis.log.logged import LoggedEvent
from crm_chassis.log.wakeups import Wakeups
from crm_chassis.migrations import migrate
from crm_chassis.projection.projector import Projector
from crm_events.topics import CONTRACT
from heard import MODEL

HEAR = """
insert into log (epoch, occurred_at, recorded_at, heard_at, sequence, version, schema_version,
                 partition, stream_id, event_id, partition_key, type, topic, data)
select 1, u.occurred_at, u.recorded_at, now(), u.sequence, 1, 1, 0, u.event_id, u.event_id,
       u.partition_key, u.type, u.topic, u.data::json
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
        """Fold all that was heard."""
        while await self.projector.turn():
            pass
        stopped = await self.pool.fetch(
            "select name, stopped from projection_checkpoint where stopped is not null"
        )
        assert not stopped, stopped

    async def publish(self) -> int:
        """Publish and rank all that is due now; how many that was."""
        taken = 0
        while count := await self.moved.turn(self.model):
            taken += count
        return taken

    async def two_seconds_pass(self) -> None:
        """Move every mark and every publication 2 s into the past."""
        await self.pool.execute(
            "update engagement set due_at = due_at - interval '2 s', "
            "moved_at = moved_at - interval '2 s'"
        )


@pytest.fixture
def model() -> ScoringModel:
    return read_model(MODEL, CONTRACT)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    assert await migrate(database, MIGRATIONS, beat=lambda: None, stop=asyncio.Event())
    pool = await open_pool(database, application_name="analytics test", max_size=8)
    yield pool
    await close_pool(pool)


@pytest.fixture
async def analytics(pool: asyncpg.Pool, model: ScoringModel) -> Analytics:
    return await analytics_of(pool, model, clock=utc_now)


async def analytics_of(pool: asyncpg.Pool, model: ScoringModel, *, clock: Any) -> Analytics:
    wakeups = Wakeups(pool)
    log = Log(pool=pool, contract=CONTRACT, keyring=Keyring(pool, []), clock=clock, wakeups=wakeups)
    lease = Lease(pool, name="worker", owner="test")
    await register_models(pool, [model])
    return Analytics(
        pool=pool,
        log=log,
        model=model,
        projector=Projector(
            pool=pool,
            log=log,
            models=(links([model.model_id]), engagement(model), buying),
            lease=lease,
            wake=wakeups.subscribe(),
            clock=clock,
        ),
        moved=Moved(pool=pool, log=log, models=[model], lease=lease, clock=clock),
    )
