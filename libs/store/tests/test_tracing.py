from __future__ import annotations

import pytest
from crm_store import tracing
from crm_store.ids import new_id
from crm_store.log.entries import Fact, NewEvent
from crm_store.tracing import Appending, serving
from probe import AT, Counted, Probe
from tracked import OTHER, SAMPLED, TRACE, UNSAMPLED


def kept(meta: dict[str, str]) -> dict[str, str]:
    with Appending() as spans:
        return dict(spans.meta(meta))


def test_an_event_keeps_the_trace_of_the_request_that_led_to_it():
    with serving(SAMPLED):
        meta = kept({"depth": "1"})

    assert meta == {"depth": "1", "traceparent": SAMPLED}


@pytest.mark.parametrize(
    "sent", [None, UNSAMPLED, "", "00-a-b-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", "é" * 600]
)
def test_an_event_keeps_nothing_of_a_trace_that_is_not_sampled_or_cannot_be_read(sent):
    with serving(sent):
        meta = kept({"depth": "1"})

    assert meta == {"depth": "1"}


def test_what_follows_from_an_event_goes_on_with_its_trace_and_not_with_that_of_a_request():
    with serving(SAMPLED):
        meta = kept({"traceparent": OTHER})

    assert meta == {"traceparent": OTHER}


def test_nothing_is_asked_of_events_while_nothing_is_exported():
    def asked():
        raise AssertionError("an event was looked at")
        yield

    tracing.tell(tracing.Operation.SEND, asked(), began_ns=0)

    assert not tracing.is_on()


def test_a_request_without_a_trace_begins_one_and_its_events_belong_to_it(exported):
    with serving(None):
        meta = kept({})

    append, request = exported.get_finished_spans()
    assert (append.name, append.parent) == ("append", request.context)
    own = f"00-{request.context.trace_id:032x}-{append.context.span_id:016x}-"
    assert meta["traceparent"].startswith(own)


def test_a_batch_is_linked_to_the_traces_in_it_and_each_event_has_a_span_in_its_own(exported):
    metas = [f'{{"traceparent":"{sent}"}}' for sent in (SAMPLED, UNSAMPLED, OTHER)]
    events = [("probe.things", Counted.type, new_id(), meta) for meta in (*metas, "{}", None)]

    tracing.tell(tracing.Operation.RECEIVE, events, began_ns=1)

    batch, first, second = exported.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [TRACE, OTHER[3:35]]
    assert [f"{one.parent.trace_id:032x}" for one in (first, second)] == [TRACE, OTHER[3:35]]
    assert {(one.start_time, one.end_time) for one in (first, second)} == {(1, batch.end_time)}
    assert first.attributes["messaging.message.id"] == str(events[0][2])


async def test_the_log_keeps_a_trace_beside_what_else_it_keeps_of_an_event(probe: Probe):
    fact = Fact(new_id(), NewEvent(Counted(number=1), new_id(), AT, new_id(), {"depth": "2"}))

    with serving(SAMPLED):
        await probe.log.append(facts=[fact, probe.fact(new_id(), 2)])
    await probe.count(new_id(), 3)

    rows = await probe.pool.fetch("select meta::text from log order by gp")
    assert [row["meta"] for row in rows] == [
        f'{{"depth":"2","traceparent":"{SAMPLED}"}}', f'{{"traceparent":"{SAMPLED}"}}', None,
    ]  # fmt: skip
