"""A visitor becomes a customer: a public SDK at one end, an explained score at the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from segment.analytics import request
from segment.analytics.client import Client
from system import System, fresh, soon

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(240)]

NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251  # a journey happens these days


@pytest.fixture(scope="module")
def people(system: System) -> Iterator[httpx.Client]:
    with system.caller(system.contacts, "people:read", "people:write") as client:
        yield client


@pytest.fixture(scope="module")
def scores(system: System) -> Iterator[httpx.Client]:
    with system.caller(system.analytics, "scores:read", "buying:read") as client:
        yield client


@pytest.fixture
def sdk(system: System) -> Iterator[Client]:
    failures: list[object] = []
    client = Client(
        system.write_key(),
        host=system.contacts.url,
        gzip=True,
        upload_interval=0.1,
        on_error=lambda error, items: failures.append(error),
    )
    yield client
    client.shutdown()
    request._session.close()  # the SDK keeps one for the whole process
    assert failures == []


def customer(people: httpx.Client, namespace: str, value: str) -> dict[str, Any] | None:
    answer = people.get("/customers/lookup", params={"namespace": namespace, "value": value})
    return answer.json() if answer.status_code == 200 else None


def explained(scores: httpx.Client, customer_id: str) -> dict[str, Any] | None:
    answer = scores.get(f"/customers/{customer_id}/score", params={"explain": True, "limit": 1000})
    return answer.json() if answer.status_code == 200 else None


def bought(scores: httpx.Client, customer_id: str) -> dict[str, Any] | None:
    answer = scores.get(f"/customers/{customer_id}/buying")
    amounts = answer.json()["amounts"] if answer.status_code == 200 else []
    return amounts[0] if amounts else None


def test_a_visitor_is_identified_buys_and_sends_back_and_the_score_says_why(sdk, people, scores):
    visitor, user = "journey-visitor", "journey-user"
    for day in (9, 8, 7):
        sdk.page(anonymous_id=visitor, name="Pricing", timestamp=NOW - timedelta(days=day))
    sdk.flush()
    before = soon(lambda: customer(people, "anonymous", visitor))
    sdk.identify(
        user,
        {"email": "Ada@Example.com", "firstName": "Ada"},
        anonymous_id=visitor,
        timestamp=NOW - timedelta(days=6),
    )
    order = {"order_id": "journey-1", "total": 80.5, "currency": "EUR"}
    sdk.track(user, "Order Completed", order, timestamp=NOW - timedelta(days=5))
    refund = {"order_id": "journey-1", "total": "30.25", "currency": "EUR"}
    sdk.track(user, "Order Refunded", refund, timestamp=NOW - timedelta(days=2))
    sdk.flush()

    def joined() -> dict[str, Any] | None:
        found = customer(people, "mail", "ada@example.com")
        return found if found and len(found["originals"]) == 2 else None

    ada = soon(joined)
    assert before["holder"] in ada["originals"]
    assert customer(people, "anonymous", visitor)["customer_id"] == ada["customer_id"]
    score = soon(
        lambda: ((s := explained(scores, ada["customer_id"])) and s["counted"] == 6 and s) or None
    )
    parts = [part["value"] for part in score["explanation"]["contributions"]]
    kinds = {part["kind"] for part in score["explanation"]["contributions"]}
    assert kinds >= {"purchase", "refund", "page"}
    assert math.isclose(math.fsum(parts), score["value"], rel_tol=1e-9)
    assert parts == sorted(parts, key=abs, reverse=True)

    def refunded() -> dict[str, Any] | None:
        found = bought(scores, ada["customer_id"])
        return found if found and found["refunds"] else None

    buying = soon(refunded)
    assert (buying["money"], buying["frequency"], buying["refunds"]) == ("50.25", 1, 1)

    def shown() -> dict[str, Any] | None:
        file = people.get(f"/customers/{ada['customer_id']}").json()
        return file if file["scores"] and file["scores"][0]["counted"] == 6 else None

    file = soon(shown)
    assert file["profile"]["firstName"] == "Ada"
    assert [e["title"] for e in file["timeline"]["items"]].count("Pricing") == 3
    at = datetime.fromisoformat(file["scores"][0]["at"])
    there = scores.get(f"/customers/{ada['customer_id']}/score", params={"at": at.isoformat()})
    assert math.isclose(file["scores"][0]["value"], there.json()["value"], rel_tol=1e-9)


def test_a_link_is_taken_back_and_each_is_again_what_its_own_facts_say(sdk, people, scores):
    visitor, user = "unlink-visitor", "unlink-user"
    sdk.page(anonymous_id=visitor, name="Home", timestamp=NOW - timedelta(days=3))
    sdk.flush()
    alone = soon(lambda: customer(people, "anonymous", visitor))["customer_id"]

    def seen() -> dict[str, Any] | None:
        found = explained(scores, alone)
        return found if found and found["counted"] == 1 else None

    own = soon(seen)
    sdk.identify(user, {"plan": "pro"}, anonymous_id=visitor, timestamp=NOW - timedelta(days=1))
    sdk.flush()
    soon(lambda: ((f := explained(scores, alone)) and len(f["members"]) == 2 and f) or None)

    undone = people.delete(f"/people/{alone}/link")

    assert undone.status_code == 200, undone.text
    again = soon(
        lambda: ((f := explained(scores, alone)) and f["members"] == [alone] and f) or None
    )
    assert again["counted"] == own["counted"] == 1
    assert math.isclose(again["s"], own["s"], rel_tol=1e-12)
    assert customer(people, "user", user)["customer_id"] != alone


def test_a_message_sent_again_after_a_lost_answer_counts_once(system, people, scores):
    body = {
        "writeKey": system.write_key("again"),
        "batch": [
            {
                "type": "track",
                "event": "Order Completed",
                "messageId": "again-1",
                "userId": "again-user",
                "properties": {"order_id": "again-1", "total": 10, "currency": "EUR"},
            }
        ],
    }

    def send() -> httpx.Response:
        return httpx.post(f"{system.contacts.url}/v1/batch", json=body, timeout=30)

    answers = [send() for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.json() for answer in answers] == [{"success": True}] * 3
    found = soon(lambda: customer(people, "user", "again-user"))["customer_id"]
    soon(lambda: bought(scores, found))
    assert send().status_code == 200
    assert bought(scores, found)["frequency"] == 1


def test_a_read_after_a_command_sees_it(people):
    registered = people.post(
        "/people",
        json={
            "identifiers": [{"namespace": "mail", "value": "after@example.com"}],
            "profile": {"firstName": "After"},
        },
    )
    assert registered.status_code in {200, 201}, registered.text
    receipt = registered.json()

    url, after = f"/customers/{receipt['customer_id']}", {"after": receipt["position"]}
    file = soon(lambda: fresh(people.get(url, params=after)))

    assert file.status_code == 200
    assert file.json()["profile"]["firstName"] == "After"
