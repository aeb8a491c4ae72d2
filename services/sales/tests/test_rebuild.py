"""Rebuilding a read model of sales from its command line, as an operator does."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from typing import Any

import pytest
from sales.__main__ import app as commands
from typer.testing import CliRunner

DECIDED = """
select (select count(*) from log) as events, (select count(*) from intent) as intents,
       (select array_agg(t order by stream_id, name) from timer t) as timers
"""


@pytest.fixture(autouse=True)
def logs_as_they_are(monkeypatch):
    """A command sets up the logs of a process; this one has others to come."""
    monkeypatch.setattr("crm_chassis.commands.configure_logs", lambda *_: None)


def environment(sales) -> dict[str, str]:
    kek = sales.settings.keks[0]
    return {
        "SALES_DATABASE_URL": sales.settings.database_url.get_secret_value(),
        "SALES_KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "SALES_HTTP_PORT": "8083",
        "SALES_KEKS": f"{kek.kek_id}:{base64.b64encode(kek.material).decode()}",
    }


async def command(sales, *arguments: str) -> Any:
    # A thread of its own, for it runs a loop of its own.
    told = environment(sales)
    return await asyncio.to_thread(CliRunner().invoke, commands, arguments, env=told)


async def test_a_rebuild_decides_nothing_and_sends_nothing(sales):
    """A deal was won: whoever runs effects over that tells the back office."""
    customer = await sales.customer(name="Ada")
    path = await sales.open(customer)
    won = await sales.http.post(f"{path}/won", json={"amount": {"amount": "5", "currency": "EUR"}})
    assert won.is_success, won.text
    await sales.fold()
    await sales.pool.execute("update deal set title = 'wrong'")
    before = tuple(await sales.pool.fetchrow(DECIDED))

    compared = await command(sales, "rebuild", "pipeline", "--only-compare")
    rebuilt = await command(sales, "rebuild", "pipeline")
    shown = await sales.http.get(path)
    of_an_effect = await command(sales, "rebuild", "hand-over")
    back = await command(sales, "rebuild", "pipeline", "--back")
    dropped = await command(sales, "rebuild", "--drop-old")

    assert (compared.exit_code, rebuilt.exit_code) == (1, 0), compared.output + rebuilt.output
    deal_id = path.rpartition("/")[2]
    assert f'deal ["{deal_id}"]: title' in compared.stdout
    assert "wrong" not in compared.output
    assert "pipeline: 1 rows, 1 differ; what was built is live" in rebuilt.stdout
    assert shown.json()["title"] == "Cups for the café"
    assert of_an_effect.exit_code == 1
    assert "there are accounts, members, pipeline, todo" in of_an_effect.stderr
    assert tuple(await sales.pool.fetchrow(DECIDED)) == before
    assert back.exit_code == 0, back.output
    assert await sales.pool.fetchval("select title from deal") == "wrong"
    assert 'dropped "pipeline_before"' in dropped.stdout


async def test_of_two_rebuilds_the_second_is_refused_by_name(sales):
    await sales.fold()
    await sales.pool.execute(
        "insert into lease values ('rebuild pipeline', 'ann', now() + interval '1 min')"
    )

    done = await command(sales, "rebuild", "pipeline")

    assert done.exit_code == 1
    assert done.stderr == "rebuild pipeline is under way already, by ann\n"


async def test_a_model_is_paused_and_resumed_from_the_command_line(sales):
    customer = await sales.customer(name="Ada")
    await command(sales, "pause", "pipeline", "--because", "its rows are looked at")
    path = await sales.open(customer)
    ready = await sales.http.get("/readyz")
    stale = await sales.http.get("/deals")
    resumed = await command(sales, "resume", "pipeline")
    await sales.fold()
    shown = await sales.http.get(path)

    assert (ready.status_code, ready.json()["paused"]) == (200, ["pipeline 1"])
    assert stale.headers["Stale-Reason"] == "paused"
    assert resumed.exit_code == 0
    assert shown.json()["title"] == "Cups for the café"


async def test_a_release_is_built_ahead_by_a_process_of_its_own_and_ready_then(sales):
    """The release before kept other versions, elsewhere."""
    path = await sales.open(await sales.customer(name="Ada"))
    await sales.fold()
    await sales.pool.execute(
        "update projection_checkpoint set version = 0, tables = '{}'; truncate deal, account"
    )

    before = await sales.http.get("/readyz")
    ahead = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sales", "rebuild", "--ahead",
        env={**os.environ, **environment(sales)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert ahead.stdout is not None
    told = await asyncio.wait_for(ahead.stdout.readline(), 60)
    after = await sales.http.get("/readyz")
    shown = await sales.http.get(path)
    ahead.terminate()
    rest, _ = await asyncio.wait_for(ahead.communicate(), 60)
    again = await command(sales, "rebuild", "--ahead")

    building = ["accounts 1", "members 1", "pipeline 1", "todo 1"]
    assert (before.status_code, before.json()["building"]) == (503, building)
    assert told.decode() == f"{', '.join(building)}: level; followed until it is taken\n"
    assert after.status_code == 200
    assert shown.json()["title"] == "Cups for the café"
    assert rest.decode() == f"{', '.join(building)}: left where it stands\n"
    assert ahead.returncode == 0
    assert again.stdout == "all that this release reads is built\n"
