from __future__ import annotations

import json

import pytest
import structlog
from asking import app_of, client_of
from crm_projections.telling import Models
from crm_store.database import close_pool, open_pool
from crm_store.tracing import show_trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_process_whose_loops_make_progress_is_alive_though_all_around_it_is_away(absent):
    async with client_of(app_of(absent)) as client:
        answer = await client.get("/livez")

    assert (answer.status_code, answer.json()) == (200, {"stalled": []})


async def test_a_process_with_a_wedged_loop_is_not_alive_and_names_it(absent):
    async with client_of(app_of(absent, stalled=("relay",))) as client:
        answer = await client.get("/livez")

    assert (answer.status_code, answer.json()) == (503, {"stalled": ["relay"]})


async def test_a_service_is_ready_with_kafka_away(pool):
    async with client_of(app_of(pool)) as client:
        answer = await client.get("/readyz")

    expected = {"database": "ready", "kafka": "away", "log": "settled"}
    assert (answer.status_code, answer.json()) == (200, expected)


async def test_a_service_is_not_ready_while_a_version_of_a_read_model_is_built(pool):
    building = Models(building=("pipeline 2",), paused=("scores 1",))
    built = Models(building=(), paused=("scores 1",))
    async with client_of(app_of(pool, models=building)) as client:
        before = await client.get("/readyz")
    async with client_of(app_of(pool, models=built)) as client:
        after = await client.get("/readyz")

    assert (before.status_code, before.json()["building"]) == (503, ["pipeline 2"])
    assert (after.status_code, after.json()["paused"]) == (200, ["scores 1"])


async def test_a_service_is_not_ready_without_its_tables(database):
    async with (
        open_pool(database, application_name="probe", max_size=1) as pool,
        client_of(app_of(pool)) as client,
    ):
        answer = await client.get("/readyz")
        await close_pool(pool)

    assert (answer.status_code, answer.json()["database"]) == (503, "not-migrated")


@pytest.mark.connected
async def test_a_service_is_not_ready_without_its_database(absent):
    async with client_of(app_of(absent)) as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()["database"]) == (503, "away")


async def test_metrics_count_requests_by_route_and_never_by_path(absent):
    async with client_of(app_of(absent)) as client:
        await client.get("/people/ada@example.org")
        told = (await client.get("/metrics")).text

    assert 'kith_http_request_seconds_count{method="GET",route="(none)",status="404"}' in told
    assert "ada@" not in told


async def test_one_line_is_logged_per_request_and_none_for_a_good_probe(absent):
    with structlog.testing.capture_logs() as lines:
        async with client_of(app_of(absent)) as client:
            await client.get("/livez")
            await client.get("/people/ada@example.org", headers={"X-Request-Id": "r-1"})

    [line] = [each for each in lines if each["event"] == "http.request"]
    assert (line["status"], line["request"], line["route"]) == (404, "r-1", "(none)")
    assert "ada@" not in json.dumps(lines)


async def test_the_line_of_a_request_names_its_trace(absent):
    with structlog.testing.capture_logs(processors=[show_trace]) as lines:
        async with client_of(app_of(absent)) as client:
            await client.get("/nowhere", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
            await client.get("/nowhere")

    told = [line.get("trace_id") for line in lines if line["event"] == "http.request"]
    assert told == [TRACE, None]


async def test_a_request_id_that_could_forge_a_log_is_replaced(absent):
    async with client_of(app_of(absent)) as client:
        answer = await client.get("/livez", headers={"X-Request-Id": "a b\t{}"})

    assert len(answer.headers["x-request-id"]) == 36
