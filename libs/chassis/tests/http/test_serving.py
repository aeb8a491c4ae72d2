"""A service as a process: it starts before its database, answers, and leaves in good order."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
from crm_chassis.apikeys import keep_key, new_api_key
from crm_store.database import close_pool, open_pool

TESTS = Path(__file__).parents[1]
KEK = base64.b64encode(bytes(range(32))).decode()

pytestmark = pytest.mark.e2e


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
async def start(port):
    """Starts `python -m probe_service ...` with these settings; ends what is left of them."""
    started: list[asyncio.subprocess.Process] = []

    async def starting(*arguments: str, url: str, **settings: str):
        environment = os.environ | {
            "PYTHONPATH": str(TESTS),
            "PROBE_DATABASE_URL": url,
            "PROBE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
            "PROBE_HTTP_PORT": str(port),
            "PROBE_KEKS": f"test:{KEK}",
            **settings,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "probe_service",
            *arguments,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def client(port):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as opened:
        yield opened


async def answered(
    client: httpx.AsyncClient, path: str, status: int, **told: object
) -> httpx.Response:
    """The first answer with this status that tells this."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.get(path)
                if answer.status_code == status and told.items() <= answer.json().items():
                    return answer
            await asyncio.sleep(0.02)


async def ended(process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def key_for_reader(database: str) -> str:
    key = new_api_key()
    async with open_pool(database, application_name="test", max_size=1) as pool:
        await keep_key(pool, key, name="reader", scopes=["things:read"])
        await close_pool(pool)
    return key


async def test_a_service_finishes_what_it_was_asked_when_it_is_told_to_end(start, client, database):
    process = await start("run", url=database)
    await answered(client, "/readyz", 200)
    bearing = {"Authorization": f"Bearer {await key_for_reader(database)}"}
    asked = asyncio.create_task(client.get("/slow", headers=bearing))
    assert await process.stdout.readline() == b"begun\n"

    process.send_signal(signal.SIGTERM)
    answer = await asked
    code, _, log = await ended(process)

    assert (answer.status_code, answer.json()) == (200, "reader")
    assert code == 0, log
    with pytest.raises(httpx.ConnectError):
        await client.get("/livez")


async def test_a_service_starts_before_its_database_does_and_is_alive_meanwhile(
    start, client, stack, database
):
    stack.postgres.stop()
    process = await start("run", url=database)
    alive = await answered(client, "/livez", 200)
    away = await answered(client, "/readyz", 503)

    stack.postgres.start()
    ready = await answered(client, "/readyz", 200)
    process.send_signal(signal.SIGINT)
    code, _, log = await ended(process)

    assert alive.json() == {"stalled": []}
    assert away.json() == {"database": "away", "kafka": "away"}
    assert ready.json() == {
        "database": "ready",
        "kafka": "away",
        "log": "settled",
        "building": [],
        "paused": [],
    }
    assert code == 0, log


async def test_an_api_waits_for_a_migration_that_another_does(start, client, database):
    api = await start("api", url=database)
    waiting = await answered(client, "/readyz", 503)
    unprepared = await client.get(
        "/slow", headers={"Authorization": "Bearer kith_aaaaaaaa_" + "A" * 43}
    )

    code, _, log = await ended(await start("migrate", url=database))
    ready = await answered(client, "/readyz", 200)
    api.send_signal(signal.SIGTERM)

    assert code == 0, log
    assert waiting.json() == {"database": "not-migrated", "kafka": "away"}
    assert unprepared.status_code == 503
    assert ready.status_code == 200
    assert (await ended(api))[0] == 0


async def test_what_is_away_is_named_and_only_a_loop_that_is_wedged_fails_the_process(
    start, client, stack, database, kafka
):
    process = await start(
        "run",
        url=database,
        PROBE_KAFKA_BOOTSTRAP=kafka,
        PROBE_STALL_SECONDS="5",
        PROBE_WEDGES="1",
    )
    whole = await answered(client, "/readyz", 200, kafka="ready")

    stack.kafka.pause()
    without_kafka = await client.get("/readyz")
    stack.kafka.resume()
    stack.postgres.stop()
    without_database = await answered(client, "/readyz", 503, kafka="ready")
    wedged = await answered(client, "/livez", 503, stalled=["work"])
    stack.postgres.start()
    process.send_signal(signal.SIGTERM)

    assert whole.json() == {
        "database": "ready",
        "kafka": "ready",
        "log": "settled",
        "building": [],
        "paused": [],
    }
    assert without_kafka.status_code == 200
    assert without_kafka.json() == {
        "database": "ready",
        "kafka": "away",
        "log": "settled",
        "building": [],
        "paused": [],
    }
    assert without_database.json() == {"database": "away", "kafka": "ready"}
    assert wedged.json() == {"stalled": ["work"]}
    assert (await ended(process))[0] == 1


async def test_a_bug_in_a_loop_ends_the_process_loudly(start, database):
    code, _, log = await ended(
        await start("run", url=database, PROBE_BREAKS="1", PROBE_LOG_FORMAT="json")
    )

    assert code == 1
    assert '"event": "loop.failed"' in log
    assert "KeyError" in log


async def test_a_taken_address_ends_the_start_by_name(start, port, database):
    with socket.create_server(("127.0.0.1", port)):
        code, _, log = await ended(await start("api", url=database))

    assert code == 1
    assert f"cannot listen at 127.0.0.1:{port}" in log
