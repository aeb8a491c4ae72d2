"""Bands on a real PostgreSQL: what is told of them, once, by facts and by time alone."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from analytics.bands.telling import DUE, Telling, band_stream
from analytics.bootstrap import Core
from analytics.engagement.model import read_model
from crm_events.analytics import BandCause
from crm_events.topics import BANDS, CONTRACT
from crm_store.database import close_pool, open_pool
from heard import BANDED, DAY, LANDMARK, customer, heard, linked, order, page
from prometheus_client import REGISTRY

HALF_LIFE = 30 * DAY


class Hands:
    """A clock that stands where it is put."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def model():
    return read_model(BANDED, CONTRACT)


@pytest.fixture
def clock():
    return Hands(LANDMARK)


@pytest.fixture
async def core(settings, clock, emptied):
    database = settings.database_url.get_secret_value()
    async with open_pool(database, application_name="analytics test", max_size=8) as pool:
        await emptied(pool)
        yield Core.of(settings, pool, clock)
        await close_pool(pool)


@pytest.fixture
def told(analytics):
    """The bands that were told of a customer: from, to, when and why."""

    async def read(number=1):
        events = await analytics.log.load(
            band_stream(analytics.model, customer(number)), opens=False
        )
        return [(one.event.was, one.event.band, one.event.at, one.event.cause) for one in events]

    return read


def late(model):
    return REGISTRY.get_sample_value("analytics_bands_late_seconds", {"model": model.name})


def rows_of(plan):
    """How many rows each step of a plan gave."""
    yield plan["Actual Rows"] * plan["Actual Loops"]
    for step in plan.get("Plans", ()):
        yield from rows_of(step)


async def hear(analytics, *events):
    """Hear, fold and publish; bands are not told yet."""
    await analytics.hear(events)
    await analytics.fold()
    await analytics.two_seconds_pass()
    await analytics.publish()


async def test_a_score_that_moved_into_another_band_is_told_once(analytics, told, clock):
    clock.now = LANDMARK + DAY
    await hear(
        analytics,
        heard(order(), LANDMARK, number=1),
        heard(order(), LANDMARK, number=2),
        heard(page(2), LANDMARK, number=3),  # too little for another band
    )

    await analytics.telling.turn()
    await analytics.telling.turn()

    assert await told() == [("cold", "hot", LANDMARK + DAY, BandCause.FACT)]
    assert await told(2) == []
    row = await analytics.pool.fetchrow(
        "select topic, partition_key from log where type = $1",
        "analytics.customer.band-changed",
    )
    assert tuple(row) == (BANDS.name, customer(1))


async def test_time_alone_ends_a_band_at_its_instant_and_is_told_once(analytics, told, clock):
    await hear(analytics, *(heard(order(), LANDMARK, number=n) for n in (1, 2)))
    await analytics.telling.turn()
    end = LANDMARK + HALF_LIFE  # of 40 over 20

    clock.now = end - timedelta(microseconds=1)
    await analytics.telling.turn()
    before = len(await told())
    clock.now = end
    for _ in range(2):
        await analytics.telling.turn()

    assert before == 1
    assert (await told())[1:] == [("hot", "warm", end, BandCause.TIME)]


async def test_crossings_of_a_time_when_no_worker_ran_are_all_told(analytics, told, clock):
    await hear(analytics, *(heard(order(), LANDMARK, number=n) for n in (1, 2)))
    await analytics.telling.turn()

    clock.now = LANDMARK + 365 * DAY
    await analytics.telling.turn()

    assert (await told())[1:] == [
        ("hot", "warm", LANDMARK + HALF_LIFE, BandCause.TIME),
        ("warm", "cold", LANDMARK + 3 * HALF_LIFE, BandCause.TIME),
    ]
    assert await analytics.pool.fetchval("select count(due_at) from band") == 0


async def test_a_fact_that_comes_late_tells_what_is_true_now(analytics, told, clock):
    await hear(analytics, *(heard(order(), LANDMARK, number=n) for n in (1, 2)))
    await analytics.telling.turn()
    clock.now = LANDMARK + 2 * HALF_LIFE
    await analytics.telling.turn()
    assert [band for _, band, _, _ in await told()] == ["hot", "warm"]

    late = [heard(order(), LANDMARK + DAY, number=n, recorded_at=clock.now) for n in range(3, 7)]
    await hear(analytics, *late)
    await analytics.telling.turn()

    assert (await told())[2:] == [("warm", "hot", clock.now, BandCause.FACT)]


async def test_of_two_processes_that_tell_of_a_band_one_does(analytics, told, clock):
    await hear(analytics, *(heard(order(), LANDMARK, number=n) for n in (1, 2)))
    await analytics.telling.turn()
    clock.now = LANDMARK + HALF_LIFE
    append = analytics.log.append

    async def overtaken(**what):
        analytics.log.append = append
        await analytics.telling.turn()
        return await append(**what)

    analytics.log.append = overtaken
    await analytics.telling.turn()

    assert [band for _, band, _, _ in await told()] == ["hot", "warm"]


async def test_a_band_whose_score_moves_while_its_end_is_told_is_looked_at_anew(
    analytics, told, clock
):
    await hear(analytics, *(heard(order(), LANDMARK, number=n) for n in (1, 2)))
    await analytics.telling.turn()
    clock.now = LANDMARK + HALF_LIFE
    append = analytics.log.append

    async def slow(**what):
        analytics.log.append = append
        await hear(analytics, heard(order(), LANDMARK, number=3))
        return await append(**what)

    analytics.log.append = slow
    await analytics.telling.turn()
    meanwhile = await told()
    await analytics.telling.turn()

    assert [band for _, band, _, _ in meanwhile] == ["hot"]
    assert await told() == meanwhile
    due_at = await analytics.pool.fetchval("select due_at from band")
    assert clock.now < due_at < clock.now + HALF_LIFE


async def test_more_than_one_batch_is_told_and_nobody_twice(analytics, clock):
    await hear(analytics, *(heard(order(number=n), LANDMARK, number=n) for n in range(1, 451)))
    while await analytics.telling.turn():
        pass
    clock.now = LANDMARK + 5 * HALF_LIFE
    while await analytics.telling.turn():
        pass

    rows = await analytics.pool.fetch(
        "select data->>'band' as band, count(*), count(distinct partition_key) as customers "
        "from log where topic = $1 group by 1 order by 1", BANDS.name,
    )  # fmt: skip

    assert [tuple(row) for row in rows] == [("cold", 450, 450), ("warm", 450, 450)]


async def test_a_batch_reads_no_more_than_it_takes_however_many_are_due_at_one_instant(
    analytics, clock
):
    await hear(analytics, *(heard(order(number=n), LANDMARK, number=n) for n in range(1, 451)))
    while await analytics.telling.turn():
        pass
    end = LANDMARK + 2 * HALF_LIFE  # of 20 over 5

    async with analytics.pool.acquire() as connection:
        for other_way in ("enable_seqscan", "enable_bitmapscan"):  # good for so few rows only
            await connection.execute(f"set {other_way} = off")
        told = await connection.fetchval(
            f"explain (analyze, format json) {DUE}", analytics.model.model_id, end, 100
        )
        await connection.execute("reset all")

    [explained] = json.loads(told)
    assert explained["Plan"]["Actual Rows"] == 100
    assert max(rows_of(explained["Plan"])) == 100


async def test_how_late_bands_are_told_is_said_of_each_model(analytics, clock, model):
    other = model.model_copy(update={"name": "other"})
    await hear(analytics, heard(order(), LANDMARK, number=1))
    await analytics.telling.turn()

    clock.now = LANDMARK + 2 * HALF_LIFE + timedelta(seconds=70)
    telling = Telling(
        pool=analytics.pool, log=analytics.log, models=[model, other], lease=None, clock=clock
    )
    await telling.turn()

    assert late(model) == 70
    assert late(other) == 0


async def test_a_score_shows_its_band_and_when_it_ends_for_the_whole_person(
    analytics, told, http, clock
):
    await hear(
        analytics,
        heard(order(), LANDMARK, number=1),
        heard(order(number=2), LANDMARK, number=2),
        heard(linked(2, 1), LANDMARK, number=3),
    )
    await analytics.telling.turn()
    clock.now = LANDMARK + DAY

    async def shown(at=""):
        return (await http.get(f"/customers/{customer(2)}/score{at}")).json()["band"]

    now = await shown()
    later = await shown(f"?at={(LANDMARK + 31 * DAY).isoformat()}".replace("+", "%2B"))

    assert now == {"name": "hot", "until": "2025-01-31T00:00:00Z"}
    assert later["name"] == "warm"
    assert [band for _, band, _, _ in await told(2)] == ["warm"]  # told of the id it came by
