"""The highest scores as Redis has them: a copy of `standing`, believed only while it is kept fresh.

A copy is known by its build. What is written names the build it belongs to and is refused where
another one was begun or Redis was flushed; what says that the copy may be believed goes by itself
when nobody renews it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from prometheus_client import Gauge
from redis.exceptions import RedisError

from analytics.leaders.standings import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from redis.asyncio import Redis

BELIEVED_MS: Final = 5_000
"""A copy that was not made level for so long is not believed any more."""
LONGEST_ASK_SECONDS: Final = 0.1
"""What an answer waits for Redis before it comes from PostgreSQL."""
NOT_ASKED_SECONDS: Final = 2.0
"""After Redis failed nobody asks it for so long."""

# KEYS: build, order, members, believed. ARGV: the build, for how many ms to believe from now (0:
# not yet), how long changes were owed, then an id, its s_net ('' to remove it) and its members.
WRITE: Final = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
for n = 4, #ARGV, 3 do
    local id, s_net, members = ARGV[n], ARGV[n + 1], ARGV[n + 2]
    if s_net == '' then
        redis.call('zrem', KEYS[2], id)
    else
        redis.call('zadd', KEYS[2], s_net, id)
    end
    if s_net == '' or members == '1' then
        redis.call('hdel', KEYS[3], id)
    else
        redis.call('hset', KEYS[3], id, members)
    end
end
if ARGV[2] ~= '0' then redis.call('set', KEYS[4], ARGV[3], 'px', ARGV[2]) end
return 1
"""
# KEYS: order, members, believed. ARGV: how many. Lists come as one text each: the client takes
# longer for the elements that it is handed than for all the rest of an answer.
READ: Final = """
local owed = redis.call('get', KEYS[3])
if not owed then return false end
local order = redis.call('zrevrange', KEYS[1], 0, ARGV[1] - 1, 'withscores')
local ids, members = {}, {}
for n = 1, #order, 2 do ids[#ids + 1] = order[n] end
if #ids > 0 then members = redis.call('hmget', KEYS[2], unpack(ids)) end
for n = 1, #ids do members[n] = members[n] or '1' end
return {owed, redis.call('pttl', KEYS[3]), table.concat(order, ' '), table.concat(members, ' ')}
"""

REDIS_UP = Gauge("analytics_redis_up", "1 where Redis answered the last time it was asked, else 0.")


class RedisAwayError(Exception):
    """Redis did not answer, or would not."""


@dataclass(frozen=True, slots=True)
class Top:
    """The highest standings, and how long a change may be missing from them at most."""

    standings: list[Standing]
    owed_seconds: float


class Ranked:
    """Redis, asked and written to. `client` raises after its own time limit and tries once."""

    def __init__(self, client: Redis, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._write = client.register_script(WRITE)
        self._read = client.register_script(READ)
        self._not_before = float("-inf")
        self._away = False

    def tell(self) -> str:
        """ready, or away; for the probes, which do not ask it."""
        return "away" if self._away else "ready"

    async def top(self, model_id: int, limit: int) -> Top | None:
        """The highest standings; None where they cannot be had or not be believed.

        It takes 0.1 s at most, and nothing for 2 s after it failed.
        """
        if self._monotonic() < self._not_before:
            return None
        _, order, members, believed = _keys(model_id)
        try:
            with self._asking():
                async with asyncio.timeout(LONGEST_ASK_SECONDS):
                    found = await self._read(keys=[order, members, believed], args=[limit])
        except RedisAwayError:
            self._not_before = self._monotonic() + NOT_ASKED_SECONDS
            return None
        return None if found is None else _top(found)

    async def run_id(self) -> str:
        """Which run of which server answers: another one may have lost what it had.

        This and what follows raise RedisAwayError.
        """
        with self._asking():
            told = await self._client.info("server")  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
        return str(told["run_id"])

    async def begin(self, model_id: int, build: str) -> None:
        """Drop the copy there is; what is written from now on belongs to this build."""
        first, *rest = _keys(model_id)
        with self._asking():
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.delete(*rest)
                pipeline.set(first, build)
                await pipeline.execute()

    async def put(
        self,
        model_id: int,
        build: str,
        standings: Sequence[Standing],
        *,
        believed_ms: int = 0,
        owed_seconds: float = 0.0,
    ) -> bool:
        """Set and remove standings; with `believed_ms` the copy is level, for so long.

        False, and nothing written, where the build is not the present one.
        """
        arguments = [build, str(believed_ms), repr(owed_seconds)]
        for one in standings:
            s_net = "" if one.s_net is None else repr(one.s_net)
            arguments += [str(one.customer_id), s_net, str(one.members)]
        with self._asking():
            return bool(await self._write(keys=list(_keys(model_id)), args=arguments))

    @contextmanager
    def _asking(self) -> Generator[None]:
        try:
            yield
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._away = True
            REDIS_UP.set(0)
            raise RedisAwayError(type(error).__name__) from error
        self._away = False
        REDIS_UP.set(1)


def _keys(model_id: int) -> tuple[str, str, str, str]:
    """Build, order, members and believed: in one slot of a cluster, which the braces are for."""
    prefix = f"kith:leaders:{{{model_id}}}"
    return f"{prefix}:build", f"{prefix}:order", f"{prefix}:members", f"{prefix}:believed"


def _top(found: tuple[bytes, int, bytes, bytes]) -> Top:
    owed, left_ms, order, members = found
    placed, counts = order.decode().split(), members.split()
    standings = [
        Standing(UUID(customer_id), float(s_net), int(count))
        for customer_id, s_net, count in zip(placed[::2], placed[1::2], counts, strict=True)
    ]
    return Top(standings, float(owed) + max(BELIEVED_MS - left_ms, 0) / 1_000)
