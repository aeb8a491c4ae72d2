"""Scores that move, streamed over a real server from what was folded and published."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from analytics.bootstrap import application
from crm_chassis.apikeys import keep_key, new_api_key
from heard import DAY, customer, heard, linked, order
from streaming import listening, messages, served

GUIDE = Path(__file__).parents[3] / "docs" / "integrating.md"
NOW = datetime.now(UTC)  # noqa: TID251  # scores are asked for as of now


@pytest.fixture
async def live(settings, core, analytics) -> AsyncIterator[httpx.AsyncClient]:
    """A caller who may read scores, of a process that answers and streams."""
    key = new_api_key()
    await keep_key(core.pool, key, name="tests", scopes=["scores:read"])
    async with served(application(settings, core, stalled=tuple), core.moves, key) as process:
        yield process.client


async def test_a_score_that_moves_is_streamed_as_it_is_read(analytics, live):
    await analytics.hear([heard(linked(2, 1), NOW - 3 * DAY, number=1)])
    await analytics.fold()
    async with (
        listening(live, "/leaders/live") as everybody,
        listening(live, f"/customers/{customer(1)}/score/live") as one,
    ):
        begun = await anext(everybody)
        await analytics.hear(
            [
                heard(order(number=3), NOW - 2 * DAY, number=2),
                heard(order(number=2), NOW - DAY, number=3),
            ]
        )
        await analytics.fold()
        await analytics.publish()
        moved = await messages(everybody, 2)
        of_one = await messages(one, 1)
    async with listening(live, "/leaders/live", begun.id) as again:
        resumed = await messages(again, 2)

    told = {each.data["customer_id"]: each.data for each in moved}
    assert {each.event for each in moved} == {"moved"}
    assert set(told) == {str(customer(2)), str(customer(3))}
    assert [each.id for each in resumed] == [each.id for each in moved]
    assert [each.data["customer_id"] for each in of_one] == [str(customer(2))]
    read = (await live.get(f"/customers/{customer(3)}/score")).json()
    streamed = told[str(customer(3))]
    assert streamed["value"] == pytest.approx(read["value"], rel=1e-4)
    assert (streamed["s"], streamed["counted"]) == (read["s"], read["counted"])
    ranked = (await live.get("/leaders")).json()["items"]
    assert [leader["customer_id"] for leader in ranked] == [str(customer(1)), str(customer(3))]


async def test_a_model_that_there_is_not_is_not_streamed(live):
    answer = await live.get("/leaders/live?model=none")

    assert answer.status_code == 404
    assert answer.json()["type"].endswith(":unknown-model")


async def test_the_guides_client_follows_and_resumes(analytics, live):
    snippets = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    [snippet] = [each for each in snippets if "def moves" in each]
    guide: dict[str, Any] = {}
    exec(snippet, guide)  # noqa: S102  # what the guide shows
    url, key = str(live.base_url), live.headers["Authorization"].removeprefix("Bearer ")
    async with listening(live, "/leaders/live") as everybody:
        begun = await anext(everybody)
        await analytics.hear([heard(order(number=3), NOW - DAY, number=1)])
        await analytics.fold()
        await analytics.publish()
        [moved] = await messages(everybody, 1)

    resumed = guide["moves"](url, key, begun.id)
    told = await asyncio.to_thread(next, resumed)
    reset = await asyncio.to_thread(next, guide["moves"](url, key, "another"))

    assert told == (moved.id, moved.data | {"at": told[1]["at"], "value": told[1]["value"]})
    assert reset[1] is None
