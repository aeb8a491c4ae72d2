import asyncio
import time
from dataclasses import dataclass

import pytest
from asking import app_of, client_of
from crm_chassis.http import reads
from crm_chassis.http.access import public
from crm_chassis.http.reads import LONGEST_WAIT_S, Freshness, Receipt, following
from crm_store.ids import new_id
from crm_store.log.position import Position
from fastapi import APIRouter, Depends

MOVE = """
update projection_checkpoint set epoch = $2, xid = $3::text::xid8, gp = $4
where name = $1 and version = 1
"""


@dataclass(frozen=True)
class Model:
    name: str
    version: int


router = APIRouter(dependencies=[Depends(public())])


@router.get("/one", dependencies=[Depends(following(Model("pipeline", 1)))])
async def one() -> str:
    return "one"


@router.get("/both")
async def both(
    freshness: Freshness = Depends(following(Model("pipeline", 1), Model("scores", 1))),  # noqa: B008, FAST002
) -> float:
    return freshness.age_seconds


@pytest.fixture
async def client(pool):
    await pool.execute(
        "insert into projection_checkpoint (name, version) values ('pipeline', 1), ('scores', 1)"
    )
    async with client_of(app_of(pool, router)) as opened:
        yield opened


@pytest.fixture
def _waits_long(monkeypatch):
    """Nobody is answered for having waited long enough."""
    monkeypatch.setattr(reads, "LONGEST_WAIT_S", 3_600.0)


async def move(pool, name, position: Position):
    await pool.execute(MOVE, name, position.epoch, str(position.xid), position.gp)


async def appended(probe) -> Position:
    """The position of an event that was just appended."""
    customer = new_id()
    done = await probe.log.append(facts=[probe.fact(customer, 1)])
    return done.position


async def test_a_read_without_a_position_answers_at_once_and_says_how_fresh_it_is(client):
    answer = await client.get("/one")

    assert answer.status_code == 200
    assert answer.headers["freshness-age-seconds"] == "0.000"
    assert answer.headers["freshness-position"] == "0.0.0"
    assert "stale" not in answer.headers


@pytest.mark.usefixtures("_waits_long")
async def test_a_read_waits_until_the_write_is_in_its_model(client, pool, probe):
    position = await appended(probe)
    reading = asyncio.create_task(client.get(f"/one?after={position}"))
    early = await client.get("/one")

    await move(pool, "pipeline", position)
    answer = await reading

    assert float(early.headers["freshness-age-seconds"]) > 0
    assert answer.headers["freshness-age-seconds"] == "0.000"
    assert answer.headers["freshness-position"] == str(position)
    assert "stale" not in answer.headers


async def test_a_read_that_waited_two_seconds_answers_and_says_that_it_is_stale(client, probe):
    position = await appended(probe)
    began = time.monotonic()

    answer = await client.get(f"/one?after={position}")

    assert answer.status_code == 200
    assert time.monotonic() - began >= LONGEST_WAIT_S
    assert (answer.headers["stale"], answer.headers["stale-reason"]) == ("true", "behind")


async def test_a_read_of_two_models_is_as_fresh_as_the_staler_one(client, pool, probe):
    first, second = await appended(probe), await appended(probe)
    await move(pool, "pipeline", second)
    await move(pool, "scores", first)

    answer = await client.get(f"/both?after={first}")

    assert answer.headers["freshness-position"] == str(first)
    assert answer.json() > 0
    assert "stale" not in answer.headers


@pytest.mark.usefixtures("_waits_long")
async def test_nobody_waits_for_a_model_that_stopped(client, pool, probe):
    position = await appended(probe)
    await pool.execute("update projection_checkpoint set stopped = 'KeyError'")

    async with asyncio.timeout(60):
        answer = await client.get(f"/one?after={position}")

    assert answer.headers["stale-reason"] == "stopped"


async def test_a_model_that_never_ran_is_told(client, pool):
    await pool.execute("delete from projection_checkpoint where name = 'scores'")

    answer = await client.get("/both")

    assert answer.headers["stale-reason"] == "not-started"


@pytest.mark.parametrize(
    "after", ["x", "1.2", "1.2.3.4", "1.-2.3", "1.2.9223372036854775808", "1" * 65, "1.2.٣", ""]
)
async def test_a_position_that_is_none_is_refused(client, after):
    answer = await client.get("/one", params={"after": after})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/after"


@pytest.mark.usefixtures("_waits_long")
async def test_a_hundred_waiting_reads_ask_the_database_together(client, pool, probe):
    position = await appended(probe)
    asked = 0

    class Counting:
        async def fetch(self, *args):
            nonlocal asked
            asked += 1
            if asked == 10:
                await move(pool, "pipeline", position)
            return await pool.fetch(*args)

    client._transport.app.state.checkpoints._pool = Counting()

    answers = await asyncio.gather(*(client.get(f"/one?after={position}") for _ in range(100)))

    assert all("stale" not in answer.headers for answer in answers)
    assert 10 <= asked < 100


def test_a_receipt_is_what_a_read_takes():
    stream = new_id()

    receipt = Receipt.of(stream, 3, Position(1, 22, 333))

    assert receipt.model_dump(mode="json") == {
        "stream_id": str(stream),
        "version": 3,
        "position": "1.22.333",
    }
    assert Receipt.of(stream, 3, None).position is None
