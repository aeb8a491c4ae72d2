"""Segment's calls and what they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from contacts.collector.segment import Arrival, Kind, merged, read_message
from crm_events.contacts import (
    EventTracked,
    GroupJoined,
    IdAliased,
    Namespace,
    OrderCompleted,
    OrderRefunded,
    PageViewed,
    ScreenViewed,
    TraitsReceived,
)
from crm_events.errors import BadInputError

RECEIVED = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINTED = UUID(int=9)


def read(call, *, kind=None, sent_at=None):
    arrival = Arrival(
        source="shop", received_at=RECEIVED, sent_at=sent_at, mint_id=lambda: MINTED, currency="EUR"
    )
    return read_message(call, kind=kind, arrival=arrival)


def track(**more):
    return {"type": "track", "messageId": "m-1", "userId": "u", "event": "Clicked", **more}


@pytest.mark.parametrize(
    ("call", "fact", "said"),
    [
        (track(properties={"a": 1}), EventTracked, {"name": "Clicked", "properties": {"a": 1}}),
        (track(event="Order Completed", properties={"order_id": "o", "total": 1}),
         OrderCompleted, {"order_id": "o"}),
        (track(event="Order Refunded", properties={"order_id": "o", "total": 1}),
         OrderRefunded, {"order_id": "o"}),
        (track(event="order completed"), EventTracked, {"name": "order completed"}),
        ({"type": "page", "userId": "u", "name": "Home", "category": "Docs",
          "properties": {"url": "https://x.test/"}},
         PageViewed, {"name": "Home",
                      "properties": {"category": "Docs", "url": "https://x.test/"}}),
        ({"type": "page", "anonymousId": "a", "name": None}, PageViewed, {"name": None}),
        ({"type": "screen", "userId": "u", "name": "Cart"}, ScreenViewed, {"name": "Cart"}),
        ({"type": "identify", "userId": "u", "traits": {"email": "a@x.test"}},
         TraitsReceived, {"properties": {"email": "a@x.test"}}),
        ({"type": "group", "userId": "u", "groupId": "acme", "traits": {"plan": "x"}},
         GroupJoined, {"group_id": "acme", "properties": {"plan": "x"}}),
        ({"type": "alias", "userId": "u", "previousId": "a"},
         IdAliased, {"properties": {"previousId": "a"}}),
    ],
)  # fmt: skip
def test_each_call_becomes_its_fact(call, fact, said):
    found = read(call).fact.of(UUID(int=3))

    assert type(found) is fact
    assert {name: getattr(found, name) for name in said} == said
    assert (found.customer_id, found.source) == (UUID(int=3), "shop")


def test_the_route_says_what_a_call_is():
    assert read({**track(), "type": None}, kind=Kind.TRACK).kind == Kind.TRACK


@pytest.mark.parametrize(
    ("told", "kept"),
    [("m-1", "m-1"), ("x" * 255, "x" * 255), (17, "17"), (None, str(MINTED)), ("", str(MINTED))],
)
def test_a_message_id_is_kept_whole_and_minted_where_there_is_none(told, kept):
    assert read(track(messageId=told)).message_id == kept


def test_numbers_are_ids_as_well():
    assert read(track(userId=42)).user.value == "42"


@pytest.mark.parametrize("absent", [None, ""])
def test_an_empty_id_is_none(absent):
    message = read(track(userId=absent, anonymousId="a"))

    assert (message.user, message.anonymous.value) == (None, "a")


@pytest.mark.parametrize(
    ("call", "namespace", "value"),
    [
        (track(userId="u", anonymousId="a"), Namespace.USER, "u"),
        (track(userId=None, anonymousId="a"), Namespace.ANONYMOUS, "a"),
        (track(userId=None, context={"traits": {"email": "A@x.test"}}), Namespace.MAIL, "a@x.test"),
        ({"type": "identify", "traits": {"email": "A@x.test"}}, Namespace.MAIL, "a@x.test"),
    ],
)
def test_a_fact_is_borne_by_the_strongest_id(call, namespace, value):
    bearer = read(call).bearer

    assert (bearer.namespace, bearer.value) == (namespace, value)


def test_an_address_that_is_none_stays_a_trait():
    message = read({"type": "identify", "userId": "u", "traits": {"email": "not an address"}})

    assert message.mail is None
    assert message.traits == {"email": "not an address"}


@pytest.mark.parametrize(
    ("call", "sent_at", "occurred_at"),
    [
        (track(), None, RECEIVED),
        (track(timestamp=None), None, RECEIVED),
        (track(timestamp="2026-05-01T00:00:00Z"), None, datetime(2026, 5, 1, tzinfo=UTC)),
        (track(timestamp="2026-05-01T02:00:00+02:00"), None, datetime(2026, 5, 1, tzinfo=UTC)),
        (track(timestamp="2026-05-01T00:00:00"), None, datetime(2026, 5, 1, tzinfo=UTC)),
        (track(timestamp="2026-05-01"), None, datetime(2026, 5, 1, tzinfo=UTC)),
        # The sender's clock is an hour fast: an event told 10 s before it was sent was then.
        (track(timestamp="2026-05-04T12:59:50Z"), RECEIVED + timedelta(hours=1),
         RECEIVED - timedelta(seconds=10)),
        (track(originalTimestamp="2026-05-04T12:59:50Z", timestamp="1999-01-01T00:00:00Z"),
         RECEIVED + timedelta(hours=1), RECEIVED - timedelta(seconds=10)),
        (track(originalTimestamp="2026-05-04T12:59:50Z", sentAt="2026-05-04T13:00:00Z"), None,
         RECEIVED - timedelta(seconds=10)),
        (track(originalTimestamp="2026-05-01T00:00:00Z"), None, datetime(2026, 5, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_the_error_of_the_senders_clock_is_taken_out(call, sent_at, occurred_at):
    assert read(call, sent_at=sent_at).occurred_at == occurred_at


@pytest.mark.parametrize(
    ("call", "pointer"),
    [
        ("text", ""),
        (["list"], ""),
        (None, ""),
        (track(type="trakc"), "/type"),
        (track(type=None), "/type"),
        (track(type=["track"]), "/type"),
        (track(userId=None), "/userId"),
        (track(userId="u" * 256), "/userId"),
        (track(userId={"id": 1}), "/userId"),
        (track(userId=True), "/userId"),
        (track(userId=1.5), "/userId"),
        (track(userId="a\nb"), "/userId"),
        (track(anonymousId=["a"]), "/anonymousId"),
        (track(messageId="m" * 256), "/messageId"),
        (track(messageId={}), "/messageId"),
        (track(event=None), "/event"),
        (track(event=""), "/event"),
        (track(event=5), "/event"),
        (track(event="e" * 256), "/event"),
        (track(properties="p"), "/properties"),
        (track(properties=[1]), "/properties"),
        (track(context="c"), "/context"),
        (track(timestamp="yesterday"), "/timestamp"),
        (track(timestamp=1714824000), "/timestamp"),
        (track(timestamp="2026-02-30T00:00:00Z"), "/timestamp"),
        (track(timestamp="0001-01-01T00:00:00+14:00"), "/timestamp"),
        (track(originalTimestamp="?"), "/originalTimestamp"),
        (track(timestamp="2026-05-01T00:00:00Z", sentAt="?"), "/sentAt"),
        (track(timestamp="9999-12-31T00:00:00Z", sentAt="2026-05-01T00:00:00Z"), "/timestamp"),
        ({"type": "identify", "userId": "u", "traits": ["x"]}, "/traits"),
        ({"type": "group", "userId": "u"}, "/groupId"),
        ({"type": "group", "userId": "u", "groupId": {}}, "/groupId"),
        ({"type": "alias", "userId": "u"}, "/previousId"),
        ({"type": "page", "userId": "u", "name": 7}, "/name"),
    ],
)  # fmt: skip
def test_a_bad_call_names_the_field(call, pointer):
    with pytest.raises(BadInputError) as refused:
        read(call)

    assert refused.value.pointer == pointer


def test_a_batch_may_state_its_context_once():
    whole = merged(
        track(context={"ip": "1.2.3.4"}),
        {"context": {"ip": "0.0.0.0", "app": "x"}, "sentAt": "?"},  # noqa: S104
    )

    assert whole == track(context={"ip": "1.2.3.4", "app": "x"})


def test_what_a_call_bears_besides_is_kept_in_its_context():
    call = track(anonymousId="a", integrations={"All": False}, context={"ip": "1.2.3.4"})

    assert read(call).fact.of(UUID(int=3)).context == {
        "ip": "1.2.3.4",
        "integrations": {"All": False},
        "anonymousId": "a",
    }


def test_fields_that_nobody_knows_are_kept_in_the_context():
    call = track(foo={"a": 1}, version=2, flag=False, traits={"x": 1}, writeKey="k", nothing=None)

    assert read(call).fact.of(UUID(int=3)).context == {
        "foo": {"a": 1},
        "version": 2,
        "flag": False,
        "traits": {"x": 1},
    }


def test_a_field_that_nobody_knows_overwrites_nothing():
    call = track(foo=1, anonymousId="a", context={"foo": 2, "anonymousId": "b"})

    assert read(call).fact.of(UUID(int=3)).context == {
        "foo": 2,
        "message.foo": 1,
        "anonymousId": "b",
        "message.anonymousId": "a",
    }
