"""What is to leave leaves once by its id, and nobody's guess counts as an answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from crm_deciding.effects import webhook
from crm_deciding.effects.sending import CLAIM, CLAIM_LASTS, DIED, MOST_ATTEMPTS
from crm_store.ids import new_id
from crm_store.tracing import serving
from desk import SECRET, Desk
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from probe import Probe
from receiving import HANGS, Calls, Mailbox
from standardwebhooks.webhooks import Webhook as Signature
from summing import catch_up
from tracked import SAMPLED, TRACE

STANDS = "select epoch, xid::text, gp from projection_checkpoint where name = 'telling'"
GO_BACK = """
update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3 where name = 'telling'
"""
RECOVERED = "update log_epoch set recovered = true, settled_at = clock_timestamp()"


async def test_a_webhook_is_signed_so_that_its_receiver_can_check_it(desk: Desk) -> None:
    await desk.count(1)

    await desk.sender().turn()

    [(headers, body)] = desk.calls.came
    told = Signature(SECRET).verify(body, headers)
    assert (told["type"], told["data"]) == ("probe.counted", {"number": 1})
    assert headers["host"].startswith("localhost:")
    assert await desk.states() == [("sent", 1)]


async def test_a_mail_comes_to_whom_it_is_for(desk: Desk) -> None:
    await desk.count(2)

    await desk.sender().turn()

    [(recipients, mail)] = desk.mailbox.came
    assert recipients == ["ada@shop.test"]
    assert (mail["Subject"], mail["From"]) == ("Two", "kith@shop.test")
    assert mail.get_payload() == "It was two.\r\n"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert await desk.states() == [("sent", 1)]


async def test_what_was_sent_is_not_sent_again(desk: Desk) -> None:
    await desk.count(1)
    await desk.sender().turn()

    await catch_up(desk.projector())
    await asyncio.gather(*(desk.sender(str(n)).turn() for n in range(4)))

    assert len(desk.calls.came) == 1


async def test_history_and_what_was_there_before_its_first_start_send_nothing(
    probe: Probe, calls: Calls, mailbox: Mailbox
) -> None:
    await probe.count(new_id(), 1)
    async with httpx.AsyncClient() as client:
        desk = Desk(probe, calls, mailbox, client)
        await catch_up(desk.projector())

        await desk.sender().turn()

    assert await desk.states() == []


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_a_receiver_that_did_not_take_it_is_called_again_later(
    desk: Desk, status: int
) -> None:
    desk.calls.answers = [(status, {"location": "http://localhost/elsewhere"})]
    await desk.count(1)

    await desk.sender().turn()
    await desk.sender().turn()
    desk.now += timedelta(seconds=6)
    await desk.sender().turn()

    assert len(desk.calls.came) == 2
    first, second = (headers for headers, _ in desk.calls.came)
    assert first["webhook-id"] == second["webhook-id"]
    assert await desk.states() == [("sent", 2)]


async def test_a_receiver_says_when_it_wants_to_be_called_again(desk: Desk) -> None:
    desk.calls.answers = [(429, {"retry-after": "120"})]
    await desk.count(1)

    await desk.sender().turn()
    desk.now += timedelta(seconds=119)
    await desk.sender().turn()
    early = len(desk.calls.came)
    desk.now += timedelta(seconds=2)
    await desk.sender().turn()

    assert (early, len(desk.calls.came)) == (1, 2)


async def test_a_receiver_that_is_soon_back_is_not_called_more_often_than_any_other(
    desk: Desk,
) -> None:
    desk.calls.answers = [(503, {"retry-after": "1"})] * 20
    await desk.count(1)

    for _ in range(60):  # minutes
        await desk.sender().turn()
        desk.now += timedelta(minutes=1)

    [(state, attempts)] = await desk.states()
    assert state == "waiting"
    assert attempts < 12


async def test_who_is_gone_is_called_no_more(desk: Desk) -> None:
    desk.calls.answers = [(410, {})]
    await desk.count(1)

    await desk.sender().turn()

    assert await desk.states() == [("failed", 1)]


async def test_after_sixteen_attempts_it_has_failed(desk: Desk) -> None:
    desk.calls.answers = [(500, {})] * 20
    await desk.count(1)

    for _ in range(20):
        await desk.sender().turn()
        desk.now += timedelta(hours=7)

    assert await desk.states() == [("failed", 16)]


async def test_an_answer_that_does_not_come_leaves_it_open_and_the_call_is_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.calls.answers = [(HANGS, {})]
    await desk.count(1)

    with monkeypatch.context() as impatient:
        impatient.setattr(webhook, "ANSWER_WITHIN_S", 0.2)
        await desk.sender().turn()
    async with asyncio.timeout(60):
        while desk.calls.answers:  # until the receiver has taken the call that nobody waits for
            await asyncio.sleep(0.01)
    [after_first] = await desk.states()
    desk.now += timedelta(seconds=6)
    await desk.sender().turn()

    assert after_first == ("waiting", 1)
    assert {headers["webhook-id"] for headers, _ in desk.calls.came} == {
        desk.calls.came[0][0]["webhook-id"]
    }
    assert await desk.states() == [("sent", 2)]


async def test_a_mail_whose_fate_nobody_knows_is_repeated_under_its_id(desk: Desk) -> None:
    desk.mailbox.to_data = ["hangs up"]
    await desk.count(2)

    await desk.sender().turn()
    desk.now += timedelta(seconds=6)
    await desk.sender().turn()

    first, second = (mail for _, mail in desk.mailbox.came)
    assert first["Message-ID"] == second["Message-ID"]
    assert await desk.states() == [("sent", 2)]


async def test_a_mail_that_may_come_once_at_most_stays_unknown(desk: Desk) -> None:
    desk.mailbox.to_data = ["hangs up"]
    await desk.count(4)

    await desk.sender().turn()
    desk.now += timedelta(days=1)
    await desk.sender().turn()

    assert len(desk.mailbox.came) == 1
    assert await desk.states() == [("unknown", 1)]


@pytest.mark.parametrize(
    ("to_recipient", "to_data", "state"),
    [
        ("550 no such user", "250 OK", "failed"),
        ("450 try later", "250 OK", "waiting"),
        ("530 Authentication required", "250 OK", "waiting"),
        ("250 OK", "554 spam", "failed"),
        ("250 OK", "451 try later", "waiting"),
    ],
)
async def test_what_the_mail_server_answers_is_the_outcome(
    desk: Desk, to_recipient: str, to_data: str, state: str
) -> None:
    desk.mailbox.to_recipient, desk.mailbox.to_data = to_recipient, [to_data]
    await desk.count(4)

    await desk.sender().turn()

    assert await desk.states() == [(state, 1)]


@pytest.mark.parametrize("answer", ["535 who are you", "550 nobody of that name sends from here"])
async def test_what_is_wrong_with_our_own_account_is_set_right_and_the_mail_goes(
    desk: Desk, answer: str
) -> None:
    desk.mailbox.to_sender = answer
    await desk.count(4)

    await desk.sender().turn()
    before = await desk.states()
    desk.mailbox.to_sender = "250 OK"
    desk.now += timedelta(seconds=6)
    await desk.sender().turn()

    assert (before, await desk.states()) == ([("waiting", 1)], [("sent", 2)])


async def test_an_address_in_other_letters_is_written_to(desk: Desk) -> None:
    await desk.count(8)

    await desk.sender().turn()

    [(recipients, mail)] = desk.mailbox.came
    assert (recipients, mail["To"]) == (["bernd@xn--bcher-kva.test"], "bernd@xn--bcher-kva.test")


async def test_a_mail_that_meets_a_bug_keeps_no_other_from_leaving(desk: Desk) -> None:
    await desk.count(9, 2)

    for _ in range(20):
        await desk.sender().turn()
        desk.now += timedelta(hours=7)

    assert sorted(await desk.states()) == [("sent", 1), ("unknown", 16)]


async def test_what_no_process_lives_to_send_is_not_tried_for_ever(desk: Desk) -> None:
    await desk.count(1)

    for _ in range(20):
        await desk.probe.pool.fetch(CLAIM, desk.now, "dead", 20)
        desk.now += timedelta(seconds=61)
        await desk.probe.pool.fetch(DIED, desk.now, desk.now - CLAIM_LASTS, MOST_ATTEMPTS)

    assert await desk.states() == [("unknown", 16)]


async def test_without_an_address_it_waits_for_one(desk: Desk) -> None:
    await desk.count(3)

    await desk.sender().turn()

    assert await desk.states() == [("waiting", 1)]


async def test_who_is_to_get_no_mail_gets_none_and_it_is_settled_with_the_reason(
    desk: Desk,
) -> None:
    await desk.count(5)

    await desk.sender().turn()

    [row] = await desk.probe.pool.fetch("select state, outcome from intent")
    assert tuple(row) == ("failed", "the member is deactivated")
    assert desk.mailbox.came == []


async def test_a_server_that_is_away_is_tried_again(desk: Desk) -> None:
    desk.mailbox.port, port = 1, desk.mailbox.port
    await desk.count(4)

    await desk.sender().turn()
    before = await desk.states()
    desk.mailbox.port = port
    desk.now += timedelta(seconds=6)
    await desk.sender().turn()

    assert (before, await desk.states()) == ([("waiting", 1)], [("sent", 2)])


async def test_what_a_process_that_died_was_sending_is_repeated_where_it_may_be(
    desk: Desk,
) -> None:
    await desk.count(1, 4)
    await desk.probe.pool.fetch(CLAIM, desk.now, "dead", 20)

    await desk.sender().turn()
    held = await desk.states()
    desk.now += timedelta(seconds=61)
    await desk.sender().turn()

    assert held == [("claimed", 1), ("claimed", 1)]
    assert sorted(await desk.states()) == [("sent", 2), ("unknown", 1)]
    assert desk.mailbox.came == []


async def test_a_message_is_sent_within_the_trace_of_its_event(
    desk: Desk, exported: InMemorySpanExporter
) -> None:
    desk.calls.answers = [(500, {})]
    with serving(SAMPLED):
        await desk.count(1, 2)
    await desk.count(2)
    exported.clear()

    await desk.sender().turn()

    called, mailed = sorted(exported.get_finished_spans(), key=lambda span: span.name)
    assert (called.name, mailed.name) == ("POST back office", "send mail")
    assert {f"{one.context.trace_id:032x}" for one in (called, mailed)} == {TRACE}
    [(headers, _)] = desk.calls.came
    assert headers["traceparent"] == f"00-{TRACE}-{called.context.span_id:016x}-01"
    assert dict(called.attributes or {}) == {
        "http.request.method": "POST",
        "server.address": "localhost",
        "server.port": urlsplit(desk.calls.url).port,
        "http.response.status_code": 500,
        "error.type": "500",
    }
    assert dict(mailed.attributes or {}) == {
        "network.protocol.name": "smtp",
        "server.address": "127.0.0.1",
        "server.port": desk.mailbox.port,
    }


async def test_a_message_of_no_trace_begins_none_and_one_that_is_not_exported_is_carried_on(
    desk: Desk,
) -> None:
    await desk.count(1)
    with serving(SAMPLED):
        await desk.count(1)

    await desk.sender().turn()

    carried = [headers.get("traceparent") for headers, _ in desk.calls.came]
    assert sorted(carried, key=str) == [SAMPLED, None]


async def test_what_may_have_gone_before_a_restore_goes_again_where_a_repeat_is_known(
    desk: Desk,
) -> None:
    before = await desk.probe.pool.fetchrow(STANDS)
    await desk.count(1, 2, 4)
    await desk.sender().turn()
    await desk.probe.pool.execute("delete from intent")  # none of it was in the backup
    await desk.probe.pool.execute(GO_BACK, *before)
    await desk.probe.pool.execute(RECOVERED)

    await desk.count()
    await desk.sender().turn()
    again = await desk.states()
    await desk.count(4)
    await desk.sender().turn()

    first, second = (headers for headers, _ in desk.calls.came)
    assert first["webhook-id"] == second["webhook-id"]
    subjects = [mail["Subject"] for _, mail in desk.mailbox.came]
    assert sorted(subjects) == ["Four", "Four", "Two", "Two"]
    assert sorted(again) == [("sent", 1), ("sent", 1), ("unknown", 1)]
    assert (await desk.states())[-1] == ("sent", 1)


async def test_what_cannot_be_told_parks_and_the_others_are_told(desk: Desk) -> None:
    await desk.count(99)
    await desk.count(1)

    await desk.sender().turn()

    assert await desk.states() == [("sent", 1)]
    assert await desk.probe.pool.fetchval("select count(*) from parked_key") == 1
