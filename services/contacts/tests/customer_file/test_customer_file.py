"""The customer file, its timeline and its scores, on a real PostgreSQL."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from math import exp, log
from uuid import UUID

import pytest
from contacts.customer_file.deals import MOST_DEALS
from crm_events.analytics import ScoreMoved
from crm_events.money import Money
from crm_events.sales import DealLost, DealOpened
from crm_events.sealing import seal
from crm_events.topics import CONTRACT
from crm_store.ids import new_id

LANDMARK = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def order(number, at, **more):
    return {
        "type": "track",
        "messageId": f"order-{number}",
        "userId": "u",
        "event": "Order Completed",
        "properties": {"order_id": f"o-{number}", "total": f"{number}.50", "coupon": "may"},
        "timestamp": at.isoformat(),
        **more,
    }


async def hear(contacts, event, sequence, *, stream_id=None):
    """A row as the inbox would have written it, sealed."""
    event_id = new_id()
    keys = await contacts.core.keyring.keys([str(event.customer_id)])
    await contacts.pool.execute(
        "insert into log (epoch, occurred_at, recorded_at, heard_at, sequence, topic, partition,"
        " stream_id, version, event_id, type, schema_version, partition_key, data)"
        " values (1, $1, $1, $1, $2::bigint, $7, 0, $8, $2::bigint::int, $4, $5, 1, $3, $6)",
        contacts.now[0],
        sequence,
        event.customer_id,
        event_id,
        event.type,
        seal(event, event_id=event_id, subject=event.customer_id, keys=keys),
        CONTRACT.by_type[event.type].name,
        stream_id or event.customer_id,
    )


async def hear_deal(contacts, customer_id, number, *ends):
    """A deal opened on another day each, and how it ended; the topic has no other of its number."""
    deal_id = UUID(int=number)
    opened = DealOpened(
        deal_id=deal_id,
        customer_id=customer_id,
        pipeline="sales",
        stage="lead",
        title=f"Cups {number}",
        amount=Money(amount=number, currency="EUR"),
        expected_close=date(2026, 6, 1),
        owner_id=UUID(int=0xB0B),
    )
    for place, event in enumerate([opened, *ends]):
        contacts.now[0] += timedelta(minutes=1)
        await hear(contacts, event, number * 10 + place, stream_id=deal_id)


def moved(customer_id, s, *, version=1, s_negative=None, last_fact_at=LANDMARK):
    return ScoreMoved(
        customer_id=customer_id,
        model="engagement",
        model_version=version,
        s=s,
        s_negative=s_negative,
        landmark=LANDMARK,
        half_life_seconds=DAY.total_seconds(),
        counted=2,
        last_fact_at=last_fact_at,
    )


async def customer_of(contacts, value, namespace="user"):
    found = await contacts.http.get(
        "/customers/lookup", params={"namespace": namespace, "value": value}
    )
    return UUID(found.json()["holder"])


async def file_of(contacts, customer_id, **params):
    await contacts.fold()
    answer = await contacts.http.get(f"/customers/{customer_id}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_file_shows_who_it_is_and_what_happened(contacts):
    at = contacts.now[0]
    await contacts.send(
        {"type": "identify", "messageId": "i", "userId": "u",
         "traits": {"name": "Ann", "email": "Ann@x.test"}, "timestamp": (at - DAY).isoformat()},
        order(7, at),
    )  # fmt: skip
    customer_id = await customer_of(contacts, "u")

    file = await file_of(contacts, customer_id)

    assert file["customer_id"] == str(customer_id)
    assert file["profile"] == {"name": "Ann", "email": "Ann@x.test"}
    assert [(one["namespace"], one["given"]) for one in file["identifiers"]] == [
        ("user", "u"),
        ("mail", "Ann@x.test"),
    ]
    newest = file["timeline"]["items"][0]
    assert (newest["type"], newest["title"]) == ("contacts.purchase.completed", "o-7")
    assert (newest["amount"], newest["currency"]) == ("7.5", "USD")
    assert newest["detail"] == {"products": [], "properties": {"coupon": "may"}}
    assert {one["type"] for one in file["timeline"]["items"]} == {
        "contacts.purchase.completed",
        "contacts.activity.identified",
        "contacts.person.registered",
    }
    assert file["freshness"]["stale"] is None


async def test_a_customer_nobody_knows_has_no_file(contacts):
    answers = [
        await contacts.http.get(f"/customers/{UUID(int=5)}"),
        await contacts.http.get(f"/customers/{UUID(int=5)}/timeline"),
    ]

    assert [one.status_code for one in answers] == [404, 404]


async def test_a_score_is_computed_from_its_course_at_any_instant(contacts):
    await contacts.send(order(1, contacts.now[0]))
    customer_id = await customer_of(contacts, "u")
    await hear(contacts, moved(customer_id, s=log(8), s_negative=log(2)), 1)

    now = await file_of(contacts, customer_id, at=(LANDMARK + DAY).isoformat())
    later = await file_of(contacts, customer_id, at=(LANDMARK + 3 * DAY).isoformat())

    [score] = now["scores"]
    assert (score["model"], score["counted"]) == ("engagement", 2)
    assert score["value"] == pytest.approx(3, rel=1e-12)
    assert later["scores"][0]["value"] == pytest.approx(0.75, rel=1e-12)


async def test_a_score_before_its_last_fact_is_left_to_analytics(contacts):
    await contacts.send(order(1, contacts.now[0]))
    customer_id = await customer_of(contacts, "u")
    await hear(contacts, moved(customer_id, s=1.0, last_fact_at=LANDMARK + 5 * DAY), 1)

    file = await file_of(contacts, customer_id, at="0001-01-01T00:00:00Z")

    assert file["scores"][0]["value"] is None


async def test_a_former_model_version_does_not_come_back(contacts):
    await contacts.send(order(1, contacts.now[0]))
    customer_id = await customer_of(contacts, "u")
    await hear(contacts, moved(customer_id, s=1.0, version=2), 1)
    await hear(contacts, moved(customer_id, s=9.0, version=1), 2)

    file = await file_of(contacts, customer_id, at=LANDMARK.isoformat())

    assert file["scores"][0]["model_version"] == 2
    assert file["scores"][0]["value"] == pytest.approx(exp(1))


async def test_linked_customers_share_a_file_and_unlinked_ones_have_their_own(contacts):
    at = contacts.now[0]
    visit = {"type": "page", "anonymousId": "a", "messageId": "p", "name": "Home"}
    await contacts.send({**visit, "timestamp": (at - DAY).isoformat()})
    await contacts.send(order(1, at - 2 * DAY))
    visitor = await customer_of(contacts, "a", "anonymous")
    user = await customer_of(contacts, "u")
    apart = [await file_of(contacts, one) for one in (visitor, user)]
    await hear(contacts, moved(visitor, s=log(1)), 1)
    await hear(contacts, moved(user, s=log(2)), 2)

    identified = {"type": "identify", "userId": "u", "anonymousId": "a", "messageId": "i"}
    await contacts.send({**identified, "timestamp": at.isoformat()})

    joined = [await file_of(contacts, one, at=LANDMARK.isoformat()) for one in (visitor, user)]
    for one in joined:
        assert one["customer_id"] == str(user)
        assert {original["customer_id"] for original in one["originals"]} == {
            str(visitor),
            str(user),
        }
        assert one["scores"][0]["value"] == pytest.approx(3)
    assert joined[0]["timeline"] == joined[1]["timeline"]
    titles = [entry["title"] for entry in joined[0]["timeline"]["items"] if entry["title"]]
    assert titles == ["identified", "Home", "o-1"]

    await contacts.http.delete(f"/people/{visitor}/link")

    again = [await file_of(contacts, one, at=LANDMARK.isoformat()) for one in (visitor, user)]
    assert [one["scores"][0]["value"] for one in again] == pytest.approx([1, 2])
    for before, after in zip(apart, again, strict=True):
        own = {entry["event_id"] for entry in before["timeline"]["items"]}
        assert own <= {entry["event_id"] for entry in after["timeline"]["items"]}
        assert {entry["customer_id"] for entry in after["timeline"]["items"]} == {
            after["customer_id"]
        }
        assert after["profile"] == before["profile"]


async def test_the_file_shows_the_deals_of_everyone_who_is_one_person(contacts):
    await contacts.send({"type": "page", "anonymousId": "a", "messageId": "p"})
    await contacts.send(order(1, contacts.now[0]))
    visitor = await customer_of(contacts, "a", "anonymous")
    user = await customer_of(contacts, "u")
    lost = DealLost(deal_id=UUID(int=2), customer_id=visitor, reason="price", note="too dear")
    await hear_deal(contacts, user, 1)
    await hear_deal(contacts, visitor, 2, lost)
    apart = await file_of(contacts, user)
    identified = {"type": "identify", "userId": "u", "anonymousId": "a", "messageId": "i"}
    await contacts.send(identified)

    file = await file_of(contacts, user)

    assert [deal["title"] for deal in apart["deals"]] == ["Cups 1"]
    newest, oldest = file["deals"]
    assert newest == {
        "deal_id": str(UUID(int=2)),
        "customer_id": str(visitor),
        "title": "Cups 2",
        "pipeline": "sales",
        "stage": "lead",
        "status": "lost",
        "amount": "2",
        "currency": "EUR",
        "expected_close": "2026-06-01",
        "owner_id": str(UUID(int=0xB0B)),
        "loss_reason": "price",
        "rotted_at": None,
        "opened_at": "2026-05-04T12:02:00Z",
        "changed_at": "2026-05-04T12:03:00Z",
    }
    assert (oldest["title"], oldest["status"], oldest["loss_reason"]) == ("Cups 1", "open", None)
    told = {one["type"]: one for one in file["timeline"]["items"] if "sales." in one["type"]}
    assert told["sales.deal.lost"]["detail"] == {"deal_id": str(UUID(int=2)), "note": "too dear"}
    assert told["sales.deal.opened"]["detail"]["title"] == "Cups 1"


async def test_a_file_shows_the_deals_that_were_opened_last(contacts):
    await contacts.send(order(1, contacts.now[0]))
    customer_id = await customer_of(contacts, "u")
    for number in range(1, MOST_DEALS + 2):
        await hear_deal(contacts, customer_id, number)

    file = await file_of(contacts, customer_id)

    assert [deal["title"] for deal in file["deals"]] == [
        f"Cups {number}" for number in range(MOST_DEALS + 1, 1, -1)
    ]


async def test_a_profile_is_the_survivors_with_what_only_the_others_know(contacts):
    visitor_told = {"name": "A.", "plan": "free"}
    await contacts.send(
        {"type": "identify", "anonymousId": "a", "messageId": "1", "traits": visitor_told},
        {"type": "identify", "userId": "u", "messageId": "2", "traits": {"name": "Ann"}},
        {"type": "identify", "userId": "u", "anonymousId": "a", "messageId": "3"},
    )

    file = await file_of(contacts, await customer_of(contacts, "a", "anonymous"))

    assert file["profile"] == {"name": "Ann", "plan": "free"}


async def test_the_timeline_comes_in_pages_without_gap_or_repetition(contacts):
    at = contacts.now[0]
    await contacts.send(*(order(n, at - timedelta(minutes=n // 3)) for n in range(20)))
    await contacts.send({"type": "page", "anonymousId": "a", "messageId": "p"})
    await contacts.send({"type": "identify", "userId": "u", "anonymousId": "a", "messageId": "i"})
    customer_id = await customer_of(contacts, "u")
    await contacts.fold()

    seen, cursor = [], None
    while True:
        params = {"limit": 4} | ({"cursor": cursor} if cursor else {})
        page = (await contacts.http.get(f"/customers/{customer_id}/timeline", params=params)).json()
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break

    assert len(seen) == 25  # 20 orders, 1 page, 1 identify, 2 registrations, 1 link
    assert len({entry["event_id"] for entry in seen}) == 25
    assert [entry["occurred_at"] for entry in seen] == sorted(
        (entry["occurred_at"] for entry in seen), reverse=True
    )


async def test_the_timeline_as_of_an_instant_ends_there(contacts):
    at = contacts.now[0]
    await contacts.send(*(order(n, at - n * DAY) for n in range(5)))
    customer_id = await customer_of(contacts, "u")
    await contacts.fold()

    page = await contacts.http.get(
        f"/customers/{customer_id}/timeline", params={"as_of": (at - 2 * DAY).isoformat()}
    )

    titles = [one["title"] for one in page.json()["items"] if one["title"]]
    assert titles == ["o-2", "o-3", "o-4"]


async def test_a_read_waits_for_what_the_caller_wrote(contacts, monkeypatch):
    sent = await contacts.send(order(1, contacts.now[0]))
    customer_id = await customer_of(contacts, "u")

    url, after = f"/customers/{customer_id}", {"after": sent.headers["Kith-Position"]}
    with monkeypatch.context() as impatient:
        impatient.setattr("crm_chassis.http.reads.LONGEST_WAIT_S", 0.1)
        stale = await contacts.http.get(url, params=after)
    await contacts.fold()
    fresh = await contacts.http.get(url, params=after)

    assert stale.headers["Stale"] == "true"
    assert "Stale" not in fresh.headers
    assert fresh.json()["timeline"]["items"]


async def test_the_page_holds_no_data_and_loads_nothing_from_elsewhere(contacts):
    del contacts.http.headers["Authorization"]

    page = await contacts.http.get(f"/customers/{UUID(int=1)}/file.html")
    data = await contacts.http.get(f"/customers/{UUID(int=1)}")

    assert (page.status_code, data.status_code) == (200, 401)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "http" not in page.text.replace("http-equiv", "")
    assert json.dumps(str(UUID(int=1))) not in page.text
