"""Rebuilding a read model of sales from its command line, as an operator does."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import structlog
from sales.__main__ import app as commands
from typer.testing import CliRunner

DECIDED = """
select (select count(*) from log) as events, (select count(*) from intent) as intents,
       (select array_agg(t order by stream_id, name) from timer t) as timers
"""


async def command(sales, *arguments: str) -> Any:
    kek = sales.settings.keks[0]
    environment = {
        "SALES_DATABASE_URL": sales.settings.database_url.get_secret_value(),
        "SALES_KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "SALES_HTTP_PORT": "8083",
        "SALES_KEKS": f"{kek.kek_id}:{base64.b64encode(kek.material).decode()}",
    }
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    # A thread of its own, for it runs a loop of its own.
    done = await asyncio.to_thread(CliRunner().invoke, commands, arguments, env=environment)
    root.handlers, root.level = handlers, level
    structlog.contextvars.clear_contextvars()
    return done


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
    assert "there are accounts, pipeline" in of_an_effect.stderr
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
