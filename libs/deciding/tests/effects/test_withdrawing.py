"""What has not left when nobody needs it any more does not leave."""

from __future__ import annotations

from datetime import timedelta

import pytest
from crm_deciding.effects import intent
from crm_deciding.effects.sending import CLAIM
from crm_store.ids import new_id
from desk import Desk
from prometheus_client import REGISTRY


def kept_back() -> float:
    told = {"effect": "telling", "outcome": "withdrawn"}
    return REGISTRY.get_sample_value("kith_effects_total", told) or 0.0


async def test_a_message_that_waits_is_kept_back_for_good(desk: Desk) -> None:
    ours, others = new_id(), new_id()
    desk.calls.answers = [(500, {}), (500, {})]
    for stream in (ours, others):
        await desk.add(stream, 1)
    await desk.sender().turn()

    await desk.add(ours, 6)
    desk.now += timedelta(hours=7)
    before = kept_back()
    await desk.sender().turn()
    await desk.sender().turn()

    assert await desk.states() == [("withdrawn", 1), ("sent", 2)]
    assert len(desk.calls.came) == 3
    assert kept_back() - before == 1


async def test_what_is_withdrawn_in_the_page_that_means_it_is_not_even_written_down(
    desk: Desk,
) -> None:
    ours = new_id()

    await desk.add(ours, 1, 2, 7)
    await desk.sender().turn()

    assert await desk.states() == [("sent", 1)]
    assert [told for _, told in desk.calls.came if b'"number":7' in told] != []
    assert desk.mailbox.came == []


@pytest.mark.parametrize(("answer", "state"), [(500, "withdrawn"), (200, "sent")])
async def test_what_is_on_its_way_may_come_but_is_not_sent_again(
    desk: Desk, answer: int, state: str
) -> None:
    ours = new_id()
    await desk.add(ours, 1)
    desk.calls.answers = [(answer, {})]
    sender = desk.sender()
    send = sender._outcome

    async def overtaken(row):
        outcome = await send(row)
        await desk.add(ours, 6)
        return outcome

    sender._outcome = overtaken
    await sender.turn()
    desk.now += timedelta(hours=7)
    await desk.sender().turn()

    assert await desk.states() == [(state, 1)]
    assert len(desk.calls.came) == 1


async def test_what_a_process_that_died_was_sending_is_not_repeated_when_it_was_withdrawn(
    desk: Desk,
) -> None:
    ours = new_id()
    await desk.add(ours, 2, 4)
    await desk.probe.pool.fetch(CLAIM, desk.now, "dead", 20)
    await desk.add(ours, 6)

    desk.now += timedelta(seconds=61)
    await desk.sender().turn()

    assert sorted(await desk.states()) == [("unknown", 1), ("withdrawn", 1)]
    assert desk.mailbox.came == []


async def test_withdrawing_looks_at_nothing_that_has_left(desk: Desk) -> None:
    await desk.probe.pool.execute(
        "insert into intent (intent_id, effect, event_id, stream_id, partition_key, channel,"
        " repeats, content, state) select gen_random_uuid(), 'telling', gen_random_uuid(),"
        " gen_random_uuid(), gen_random_uuid(), 'mail', true, '{}', 'sent'"
        " from generate_series(1, 20000)"
    )
    await desk.probe.pool.execute("analyze intent")

    plan = await desk.probe.pool.fetch(f"explain {intent.WITHDRAW}", "telling", [new_id()])

    assert not any("Seq Scan" in row[0] for row in plan), plan
