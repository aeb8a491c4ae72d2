"""Redis, which analytics can do without: flushed, stopped, frozen."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
from redis.asyncio import Redis

from tests.fault.fault import Fault

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator

    from tests.fault.world import World

AFTERWARDS: Final = 100
BACK_SECONDS: Final = 20.0
LONGEST_ANSWER_SECONDS: Final = 2.0
"""A machine under load included; a request that waited for a frozen Redis would take longer."""
ASKED: Final = 10
MANY: Final = 200


async def redis_flushed(world: World, _: random.Random) -> None:
    """What it had is gone, and it answers: nobody may take that for no leaders."""
    async with _asking(world) as caller:
        async with Redis.from_url(world.stack.redis.url) as client:
            await client.flushall()
        leaders = await _leaders(caller)
        assert leaders["items"], "an empty Redis was believed"
        await world.acknowledged(AFTERWARDS)
        await _from_redis(world, caller)
        await _same(world, caller)


async def redis_stopped(world: World, _: random.Random) -> None:
    async with _asking(world) as caller:
        await asyncio.to_thread(world.stack.redis.stop)
        leaders = await _leaders(caller)
        assert leaders["source"] == "postgresql", "somebody answered for Redis"
        await world.acknowledged(AFTERWARDS)
        await asyncio.to_thread(world.stack.redis.start)
        await _from_redis(world, caller)
        await _same(world, caller)


async def redis_frozen(world: World, _: random.Random) -> None:
    """Its connections stay open and nothing answers: no request waits for it."""
    async with _asking(world) as caller:
        await asyncio.to_thread(world.stack.redis.pause)
        assert world.stack.redis.paused, "it was not frozen"
        for _ in range(ASKED):
            began = time.monotonic()
            leaders = await _leaders(caller)
            took = time.monotonic() - began
            assert leaders["source"] == "postgresql", "a frozen Redis answered"
            assert took < LONGEST_ANSWER_SECONDS, f"a request waited {took:.1f} s for Redis"
        await world.acknowledged(AFTERWARDS)
        await asyncio.to_thread(world.stack.redis.resume)
        await _from_redis(world, caller)
        await _same(world, caller)


@asynccontextmanager
async def _asking(world: World) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an API of analytics that has read leaders from Redis once."""
    made = await world.command(
        "analytics", "api-keys", "create", "leaders", "--scope", "scores:read"
    )
    headers = {"Authorization": f"Bearer {made.splitlines()[-1]}"}
    async with (
        world.standby("analytics", "api", "leaders") as api,
        httpx.AsyncClient(base_url=api.service.url, headers=headers, timeout=10) as client,
    ):
        await _from_redis(world, client)
        yield client


async def _leaders(caller: httpx.AsyncClient, query: str = "") -> dict[str, Any]:
    answer = await caller.get(f"/leaders{query}")
    return answer.raise_for_status().json()


async def _from_redis(world: World, caller: httpx.AsyncClient) -> None:
    async def so() -> bool:
        leaders = await _leaders(caller)
        return bool(leaders["source"] == "redis" and leaders["items"])

    await world.until(so, within_seconds=BACK_SECONDS, what="leaders from Redis")


async def _same(world: World, caller: httpx.AsyncClient) -> None:
    """Both name the same first ones, once no change is between the two."""

    async def so() -> bool:
        async with world.database("analytics") as database:
            rows = await database.fetch(
                "select customer_id::text, s_net from standing s "
                "join scoring_model m using (model_id) where m.name = 'engagement' "
                "order by s_net desc, customer_id desc limit $1",
                MANY,
            )
        shown = await _leaders(caller, f"?limit={MANY}")
        return shown["source"] == "redis" and list(map(tuple, rows)) == [
            (one["customer_id"], one["s_net"]) for one in shown["items"]
        ]

    await world.until(so, within_seconds=BACK_SECONDS, what="the same leaders in Redis")


FAULTS: Final = (
    Fault("redis.flush", "Redis flushed: nobody takes that for no leaders.", redis_flushed),
    Fault("redis.stop", "Redis stopped and started: it comes back empty.", redis_stopped),
    Fault("redis.freeze", "SIGSTOP of Redis: leaders come from PostgreSQL.", redis_frozen),
)
