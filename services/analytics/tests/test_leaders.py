"""Leaders in a real Redis: what it has, when it is believed, and what happens when it fails."""

from __future__ import annotations

import asyncio

import pytest
from analytics.bootstrap import Core, redis_of
from analytics.leaders.ranked import LONGEST_ASK_SECONDS, RedisAwayError
from analytics.leaders.refreshing import Refreshing
from analytics.leaders.standings import Standing, read_leaders
from crm_store.database import close_pool, open_pool
from crm_store.lease import Lease
from heard import LANDMARK, customer, heard, linked, order, refund
from pydantic import SecretStr
from redis.asyncio import Redis
from test_engagement import random_history

BELIEVED_MS = 600_000


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A Redis that answers is waited for and believed, however busy the machine is."""
    monkeypatch.setattr("analytics.bootstrap.REDIS_TIMEOUT_S", 60.0)
    monkeypatch.setattr("analytics.leaders.ranked.LONGEST_ASK_SECONDS", 60.0)
    for module in ("ranked", "refreshing"):
        monkeypatch.setattr(f"analytics.leaders.{module}.BELIEVED_MS", BELIEVED_MS)


@pytest.fixture
async def core(settings, redis, emptied):
    settings = settings.model_copy(update={"redis_url": SecretStr(redis)})
    database = settings.database_url.get_secret_value()
    async with (
        open_pool(database, application_name="analytics test", max_size=8) as pool,
        redis_of(settings) as client,
    ):
        await emptied(pool)
        yield Core.of(settings, pool, redis=client)
        await close_pool(pool)


@pytest.fixture
def another(core):
    """Makes one who keeps Redis level, as each process has one."""

    def make():
        return Refreshing(
            pool=core.pool,
            log=core.log,
            ranked=core.ranked,
            models=core.models,
            lease=Lease(core.pool, name="worker", owner="test"),
        )

    return make


@pytest.fixture
def refreshing(another):
    return another()


@pytest.fixture
async def flush(redis):
    """Empties Redis as another client may."""
    async with Redis.from_url(redis) as client:
        yield client.flushall


@pytest.fixture
def leaders(http):
    async def ask(query=""):
        return (await http.get(f"/leaders{query}")).json()

    return ask


async def hear(analytics, *events):
    await analytics.hear(events)
    await analytics.fold()
    await analytics.two_seconds_pass()
    await analytics.publish()


async def level(refreshing):
    while await refreshing.turn():
        pass


async def in_postgresql(core, limit=100):
    return await read_leaders(core.pool, core.models[0].model_id, after=None, limit=limit)


async def in_redis(core, limit=100):
    top = await core.ranked.top(core.models[0].model_id, limit)
    return None if top is None else top.standings


async def test_redis_has_the_leaders_that_postgresql_has(analytics, core, refreshing, leaders):
    events = random_history(5, people=20, facts=200)
    for start in range(0, len(events), 50):
        await hear(analytics, *events[start : start + 50])
        await level(refreshing)

        assert await in_redis(core) == await in_postgresql(core)

    shown = await leaders("?limit=3")
    rest = await leaders(f"?limit=90&cursor={shown['next']}")
    assert (shown["source"], rest["source"]) == ("redis", "postgresql")
    assert [one["customer_id"] for one in shown["items"] + rest["items"]] == [
        str(one.customer_id) for one in await in_postgresql(core)
    ]
    assert 0 <= shown["owed_seconds"] < BELIEVED_MS / 1_000


async def test_who_is_linked_away_or_not_above_0_is_taken_out(analytics, core, refreshing):
    await hear(
        analytics,
        *(heard(order(number=n), LANDMARK, number=n) for n in (1, 2, 3)),
    )
    await level(refreshing)

    await hear(
        analytics,
        heard(linked(2, 1), LANDMARK, number=4),
        *(heard(refund(number=3), LANDMARK, number=n) for n in (5, 6)),
    )
    await level(refreshing)

    [only] = await in_redis(core)
    assert (only.customer_id, only.members) == (customer(1), 2)
    assert await core.pool.fetchval("select count(*) from leader_dirty") == 0


async def test_a_redis_that_was_flushed_is_not_believed_until_it_is_filled(
    analytics, core, refreshing, leaders, flush
):
    await hear(analytics, heard(order(), LANDMARK))
    await level(refreshing)
    await flush()

    empty = await leaders()
    await hear(analytics, heard(order(number=2), LANDMARK, number=2))
    await level(refreshing)
    filled = await leaders()

    assert (empty["source"], len(empty["items"])) == ("postgresql", 1)
    assert (filled["source"], len(filled["items"])) == ("redis", 2)


async def test_a_redis_flushed_while_it_is_filled_is_filled_again(
    analytics, core, refreshing, flush
):
    await hear(analytics, heard(order(), LANDMARK))
    put = core.ranked.put

    async def flushed(*arguments, **named):
        core.ranked.put = put
        await flush()
        return await put(*arguments, **named)

    core.ranked.put = flushed
    await refreshing.turn()
    before = await in_redis(core)
    await level(refreshing)

    assert before is None
    assert await in_redis(core) == await in_postgresql(core)


async def test_a_redis_that_came_back_is_filled_though_it_says_nothing(
    analytics, core, refreshing, leaders, stack
):
    await hear(analytics, heard(order(), LANDMARK))
    await level(refreshing)
    await asyncio.to_thread(stack.redis.kill)

    away = await leaders()
    await refreshing.turn()
    told = core.ranked.tell()
    await asyncio.to_thread(stack.redis.start)
    async with asyncio.timeout(60):
        while await in_redis(core) is None:
            await refreshing.turn()
            await asyncio.sleep(0.05)

    assert (away["source"], len(away["items"])) == ("postgresql", 1)
    assert told == "away"
    assert core.ranked.tell() == "ready"


async def test_another_run_of_redis_that_kept_old_data_is_filled_anew(analytics, core, refreshing):
    await hear(analytics, heard(order(), LANDMARK))
    await level(refreshing)
    model_id = core.models[0].model_id
    build = refreshing._builds[model_id].build
    await core.ranked.put(model_id, build, [Standing(customer(9), 1.0, 1)])  # as it was once

    async def restarted():
        return "another run"

    core.ranked.run_id = restarted
    await level(refreshing)

    assert await in_redis(core) == await in_postgresql(core)


async def test_a_log_that_began_an_epoch_has_redis_filled_anew(analytics, core, refreshing):
    await hear(analytics, heard(order(), LANDMARK))
    await level(refreshing)
    await core.pool.execute("delete from standing")  # as a backup may lack it: nobody marks that
    before = await in_redis(core)

    core.log._forget()
    await level(refreshing)

    assert len(before) == 1
    assert await in_redis(core) == []


async def test_a_redis_that_hangs_costs_a_tenth_of_a_second_once_in_two(
    analytics, core, refreshing, leaders, *, stack, monkeypatch
):
    await hear(analytics, heard(order(), LANDMARK))
    await level(refreshing)
    read, now, asked = core.ranked._read, [100.0], []

    async def noted(**what):
        asked.append(now[0])
        return await read(**what)

    monkeypatch.setattr(core.ranked, "_read", noted)
    monkeypatch.setattr(core.ranked, "_monotonic", lambda: now[0])
    monkeypatch.setattr("analytics.leaders.ranked.LONGEST_ASK_SECONDS", LONGEST_ASK_SECONDS)
    stack.redis.pause()

    found = [await in_redis(core) for _ in range(3)]
    shown = await leaders()
    now[0] += 2.0
    found.append(await in_redis(core))
    stack.redis.resume()

    assert (asked, found) == ([100.0, 102.0], [None] * 4)
    assert LONGEST_ASK_SECONDS == 0.1
    assert (shown["source"], len(shown["items"])) == ("postgresql", 1)


async def test_a_copy_that_nobody_renews_is_not_believed_for_long(analytics, core, refreshing):
    await hear(analytics, heard(order(), LANDMARK))
    await level(refreshing)
    model_id = core.models[0].model_id
    build = refreshing._builds[model_id].build

    believed = await in_redis(core)
    assert await core.ranked.put(model_id, build, [], believed_ms=1)
    async with asyncio.timeout(60):
        while await in_redis(core) is not None:
            await asyncio.sleep(0.02)

    assert believed == await in_postgresql(core)


async def test_a_standing_that_moves_while_it_is_copied_is_copied_again(
    analytics, core, refreshing
):
    await hear(analytics, heard(order(), LANDMARK))
    await level(refreshing)
    await hear(analytics, heard(order(), LANDMARK, number=2))
    put = core.ranked.put

    async def slow(*arguments, **named):
        core.ranked.put = put
        await hear(analytics, heard(order(), LANDMARK, number=3))
        return await put(*arguments, **named)

    core.ranked.put = slow
    await refreshing.turn()
    between = await in_redis(core)
    await refreshing.turn()

    assert between != await in_postgresql(core)
    assert await in_redis(core) == await in_postgresql(core)


async def test_who_was_overtaken_writes_nothing_into_anothers_copy(analytics, core, another):
    await hear(analytics, heard(order(), LANDMARK))
    first, second = another(), another()
    await level(first)
    await level(second)

    model_id = core.models[0].model_id
    written = await core.ranked.put(
        model_id, first._builds[model_id].build, [Standing(customer(9), 1.0, 1)], believed_ms=1
    )

    assert not written
    assert await in_redis(core) == await in_postgresql(core)


async def test_redis_away_is_told_and_no_reason_to_be_unready(analytics, core, http, stack):
    await asyncio.to_thread(stack.redis.kill)
    with pytest.raises(RedisAwayError):
        await core.ranked.run_id()

    ready = await http.get("/readyz")

    assert ready.status_code == 200
    assert ready.json()["redis"] == "away"
