"""One trace: a request at one end, the read model of another service at the other."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from system import SOON_SECONDS, System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(240)]

TRACE = "5bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PERSONAL = ("trace.ada@example.org", "Ada Traced", "traced-visitor")

REQUEST = ("contacts", "POST /v1/batch")
APPEND = ("contacts", "append")
SEND = ("contacts", "send contacts.activity")
HEARD = ("analytics", "receive contacts.activity")
FOLDED = ("analytics", "process score.engagement")
SHOWN = ("contacts", "process timeline")


def test_one_trace_runs_from_a_request_to_the_read_model_of_another_service(system: System):
    mail, name, visitor = PERSONAL
    batch = [
        {
            "type": "identify",
            "messageId": "traced-1",
            "anonymousId": visitor,
            "traits": {"email": mail, "name": name},
        },
        {"type": "page", "messageId": "traced-2", "anonymousId": visitor, "name": "Pricing"},
    ]

    answer = httpx.post(
        f"{system.contacts.url}/v1/batch",
        json={"batch": batch},
        auth=(system.write_key("traced"), ""),
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
        timeout=30,
    )

    assert answer.status_code == 200, answer.text
    expected = {REQUEST, APPEND, SEND, HEARD, FOLDED, SHOWN}
    deadline = time.monotonic() + SOON_SECONDS
    while not expected <= system.spans.of(TRACE).keys() and time.monotonic() < deadline:
        time.sleep(0.05)  # noqa: TID251  # what other processes export sets no event here
    found = system.spans.of(TRACE)
    assert expected <= found.keys()
    assert found[REQUEST].parent_id == CALLER
    assert found[APPEND].parent_id == found[REQUEST].span_id
    parents = {found[step].parent_id for step in (SEND, HEARD, FOLDED, SHOWN)}
    assert parents == {found[APPEND].span_id}
    lines = map(json.loads, system.contacts.log.read_text().splitlines())
    assert "/v1/batch" in {one.get("route") for one in lines if one.get("trace_id") == TRACE}
    exported = b"".join(system.spans.bodies)
    assert not [one for one in PERSONAL if one.encode() in exported]
