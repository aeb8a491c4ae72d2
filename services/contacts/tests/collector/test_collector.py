"""The collector on a real PostgreSQL: what is durable, and as what, when it answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from base64 import b64encode
from datetime import timedelta

import httpx
import pytest
from contacts.bootstrap import application
from contacts.people.registry import Registry
from crm_chassis.core import core_of
from crm_store.database import open_pool
from crm_store.log import epochs

TRACK = {
    "type": "track",
    "messageId": "node-next-1714824000000-x",
    "userId": "u-1",
    "event": "Signed Up",
    "properties": {"plan": "pro", "seats": None},
    "context": {"ip": "203.0.113.7"},
    "timestamp": "2026-05-04T11:59:00.000Z",
}
BATCH = json.dumps({"batch": [TRACK]}).encode()


def track(message_id, **more):
    return {**TRACK, "messageId": message_id, **more}


def identify(message_id, **more):
    return {"type": "identify", "messageId": message_id, "userId": "u-1"} | more


async def test_a_tracked_event_is_durable_when_the_collector_answers(contacts):
    answer = await contacts.send(TRACK)

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    [tracked] = await contacts.events("contacts.activity.tracked")
    assert tracked.name == "Signed Up"
    assert tracked.properties == {"plan": "pro", "seats": None}
    assert tracked.context == {"ip": "203.0.113.7"}
    assert tracked.source == "shop"


async def test_personal_values_lie_in_no_table_in_the_clear(contacts):
    named = identify("2", userId="user 1", traits={"email": "ann@x.test"})
    await contacts.send(track("1", userId="user 1"), named, {"bad": "ann@x.test"})

    rows = []
    for table in ("log", "stream", "reservation", "subject_key", "set_aside"):
        rows += await contacts.pool.fetch(f"select t::text as row from {table} t")  # noqa: S608
    assert len(rows) > 5
    # Each has a character that base64 lacks, or sealed bytes would spell it once in a while.
    clear = ("203.0.113", "user 1", "ann@")
    assert not [row for row in rows if any(word in row["row"] for word in clear)]


async def test_a_message_sent_again_is_dropped_for_ever(contacts):
    await contacts.send(TRACK)
    before = await contacts.counts()
    contacts.now[0] += timedelta(days=400)

    answer = await contacts.send(TRACK, TRACK)

    assert answer.json() == {"success": True}
    assert await contacts.counts() == before


@pytest.mark.parametrize("said", [{"userId": "second"}, {"userId": None, "anonymousId": "a"}])
async def test_a_known_message_id_with_another_sender_registers_nobody(contacts, said):
    await contacts.send(TRACK)
    before = await contacts.counts()

    answer = await contacts.send(track(TRACK["messageId"], **said))

    assert answer.json() == {"success": True}
    assert await contacts.counts() == before


async def test_the_same_message_id_from_another_source_is_another_message(contacts, write_key):
    await contacts.send(TRACK)

    await contacts.http.post("/v1/batch", content=BATCH, auth=(await write_key("app"), ""))

    assert len(await contacts.events("contacts.activity.tracked")) == 2


async def test_an_old_identify_sent_again_changes_nothing(contacts):
    old = identify("1", traits={"name": "Ann"})
    await contacts.send(old)
    await contacts.send(identify("2", traits={"name": "Anne"}))
    before = await contacts.counts()

    await contacts.send(old)

    assert await contacts.counts() == before


@pytest.mark.parametrize("moment", ["before loading", "after loading"])
async def test_an_old_identify_that_races_with_itself_changes_nothing_twice(
    contacts, other, monkeypatch, moment
):
    old = identify("1", traits={"name": "Ann"})
    await contacts.send(identify("0", traits={"name": "A"}))
    people, raced = Registry.people, []

    async def race(now):
        if now == moment and not raced:
            raced.append(now)
            # Another process takes the same message, and then a newer one.
            await other.send(old)
            await other.send(identify("2", traits={"name": "B"}))

    async def racing(self, customer_ids):
        await race("before loading")
        loaded = await people(self, customer_ids)
        await race("after loading")
        return loaded

    monkeypatch.setattr(Registry, "people", racing)

    answer = await contacts.send(old)

    assert (answer.status_code, raced) == (200, [moment])
    changed = await contacts.events("contacts.person.changed")
    assert [one.profile["name"] for one in changed] == ["Ann", "B"]
    assert len(await contacts.events("contacts.activity.identified")) == 3


async def test_requests_that_register_the_same_people_register_them_once(contacts):
    batches = [[track(f"{n}-{m}", userId=f"u{m}") for m in range(10)] for n in range(8)]

    answers = await asyncio.gather(*(contacts.send(*batch) for batch in batches))

    assert {one.status_code for one in answers} == {200}
    assert len(await contacts.events("contacts.person.registered")) == 10
    assert len(await contacts.events("contacts.activity.tracked")) == 80
    assert (await contacts.counts())["subject_key"] == 10


async def test_a_person_who_takes_long_to_load_keeps_no_other_waiting(contacts, monkeypatch):
    await contacts.send(identify("1"))
    await contacts.send(identify("2", userId="u-2"))
    [hot, _] = await contacts.events("contacts.person.registered")
    people, loading, go_on = Registry.people, asyncio.Event(), asyncio.Event()

    async def slow(self, customer_ids):
        if hot.customer_id in customer_ids:
            loading.set()
            await go_on.wait()
        return await people(self, customer_ids)

    monkeypatch.setattr(Registry, "people", slow)
    waiting = asyncio.create_task(contacts.send(identify("3", traits={"name": "Ann"})))
    await loading.wait()

    async with asyncio.timeout(60):
        answer = await contacts.send(identify("4", userId="u-2", traits={"name": "Bob"}))

    assert (answer.status_code, waiting.done()) == (200, False)
    go_on.set()
    assert (await waiting).status_code == 200


async def test_many_changes_of_one_person_at_once_are_all_made(contacts):
    sent = [identify(f"{n}", traits={"n": n}) for n in range(30)]

    answers = await asyncio.gather(*(contacts.send(one) for one in sent))

    assert {one.status_code for one in answers} == {200}
    [first] = await contacts.events("contacts.person.registered")
    changed = await contacts.events("contacts.person.changed")
    told = [first.profile["n"], *(one.profile["n"] for one in changed)]
    assert sorted(told) == list(range(30))


async def test_an_order_becomes_a_purchase(contacts):
    order = {"order_id": "o-1", "total": "27.50", "currency": "eur", "coupon": "may"}

    await contacts.send(track("1", event="Order Completed", properties=order))
    await contacts.send(track("2", event="Order Refunded", properties=order))

    purchases = await contacts.events("contacts.purchase.completed", "contacts.purchase.refunded")
    assert [(one.type, str(one.total.amount), one.total.currency) for one in purchases] == [
        ("contacts.purchase.completed", "27.5", "EUR"),
        ("contacts.purchase.refunded", "27.5", "EUR"),
    ]
    assert purchases[0].properties == {"coupon": "may"}


async def test_what_belongs_to_a_customer_lies_in_one_partition(contacts):
    await contacts.send(track("1"), identify("2"), track("3", event="Order Completed",
                        properties={"order_id": "o", "total": 1}))  # fmt: skip

    rows = await contacts.pool.fetch("select distinct partition, partition_key from log")
    assert len(rows) == 1


async def test_a_new_customers_key_waits_to_be_sent(contacts):
    await contacts.send(TRACK)

    [row] = await contacts.pool.fetch("select * from subject_key")
    [registered] = await contacts.events("contacts.person.registered")
    assert row["key_id"] == str(registered.customer_id)
    assert (row["unsent"], row["kek_id"], row["destroyed"]) == (True, "kek1", None)


async def test_a_bad_message_is_set_aside_and_the_others_are_taken(contacts):
    bad = {**TRACK, "messageId": "bad", "timestamp": "yesterday"}

    answer = await contacts.send(track("1"), bad, track("2"))

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "setAside": [
            {
                "index": 1,
                "messageId": "bad",
                "code": "invalid-timestamp",
                "detail": "/timestamp: is no ISO 8601 instant",
            }
        ],
    }
    assert len(await contacts.events("contacts.activity.tracked")) == 2
    [kept] = (await contacts.http.get("/collector/set-aside")).json()["items"]
    assert json.loads(kept["content"]) == bad
    assert (kept["source"], kept["code"], kept["pointer"]) == (
        "shop",
        "invalid-timestamp",
        "/timestamp",
    )


async def test_a_batch_sent_again_sets_nothing_aside_twice(contacts):
    await contacts.send({"bad": 1})

    await contacts.send({"bad": 1})

    assert (await contacts.counts())["set_aside"] == 1


async def test_an_order_without_readable_money_is_set_aside_with_its_reason(contacts):
    order = track("1", event="Order Completed", properties={"order_id": "o", "total": "lots"})

    answer = await contacts.send(order)

    assert answer.json()["setAside"][0]["code"] == "invalid-money"
    assert await contacts.events("contacts.purchase.completed") == []


async def test_a_value_that_is_not_json_sets_aside_its_message_only(contacts):
    body = json.dumps({"batch": [track("1", properties={"x": float("nan")}), track("2")]})

    answer = await contacts.http.post("/v1/batch", content=body, auth=(contacts.write_key, ""))

    assert [one["messageId"] for one in answer.json()["setAside"]] == ["1"]
    assert len(await contacts.events("contacts.activity.tracked")) == 1


@pytest.mark.parametrize("route", ["track", "t", "track/", "batch", "batch/", "b"])
async def test_no_route_redirects(contacts, route):
    body = TRACK if "b" not in route else {"batch": [TRACK]}

    answer = await contacts.http.post(f"/v1/{route}", json=body, auth=(contacts.write_key, ""))

    assert (answer.status_code, answer.json()) == (200, {"success": True})


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("identify", {"userId": "u", "traits": {"name": "Ann"}}),
        ("track", {"userId": "u", "event": "Clicked"}),
        ("page", {"userId": "u", "name": "Home"}),
        ("screen", {"userId": "u", "name": "Home"}),
        ("group", {"userId": "u", "groupId": "acme"}),
        ("alias", {"userId": "u", "previousId": "a"}),
    ],
)
async def test_each_call_has_its_route(contacts, kind, call):
    answer = await contacts.http.post(f"/v1/{kind}", json=call, auth=(contacts.write_key, ""))

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert len(await contacts.events()) == (2 if kind != "alias" else 3)


@pytest.mark.parametrize("place", ["basic", "bearer", "x-write-key", "writekey", "body"])
async def test_a_write_key_may_stand_where_sdks_put_it(contacts, place):
    key = contacts.write_key
    body = {"batch": [TRACK]}
    headers = {"Authorization": ""}
    match place:
        case "basic":
            headers["Authorization"] = f"Basic {b64encode(f'{key}:'.encode()).decode()}"
        case "bearer":
            headers["Authorization"] = f"Bearer {key}"
        case "body":
            body["writeKey"] = key
        case header:
            headers[header] = key
    if not headers["Authorization"]:
        del headers["Authorization"]
        del contacts.http.headers["Authorization"]

    answer = await contacts.http.post("/v1/batch", json=body, headers=headers)

    assert answer.json() == {"success": True}


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", bytes),
        ("GZIP", gzip.compress),
    ],
)
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", None]
)
async def test_the_encoding_decides_and_the_content_type_does_not(
    contacts, encoding, compress, content_type
):
    headers = {"Content-Encoding": encoding}
    if content_type:
        headers["Content-Type"] = content_type

    answer = await contacts.http.post(
        "/v1/batch", content=compress(BATCH), headers=headers, auth=(contacts.write_key, "")
    )

    assert answer.json() == {"success": True}


async def test_a_page_of_any_site_may_send(contacts):
    asked = await contacts.http.options("/v1/t", headers={"Origin": "https://shop.test"})
    answer = await contacts.send(TRACK)

    assert asked.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/batch", 405, "post-only"),
        ("PUT", "/v1/t/", 405, "post-only"),
        ("DELETE", "/v1/identify", 405, "post-only"),
        ("POST", "/v1/import", 404, "unknown-call"),
        ("GET", "/v1/projects/x/settings", 404, "unknown-call"),
        ("POST", "/v1/", 404, "unknown-call"),
    ],
)
async def test_what_is_no_call_is_told_in_the_collectors_words(
    contacts, method, path, status, code
):
    answer = await contacts.http.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message", "detail"}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_write_key_opens_nothing_but_the_collector(contacts):
    headers = {"Authorization": f"Bearer {contacts.write_key}"}

    answer = await contacts.http.get("/collector/set-aside", headers=headers)

    assert answer.status_code == 403


async def test_an_empty_batch_is_taken(contacts):
    assert (await contacts.send()).json() == {"success": True}


async def test_with_the_database_away_senders_are_told_to_come_back(contacts):
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    async with open_pool(nowhere, application_name="away", max_size=1) as pool:
        core = core_of(contacts.settings, pool)
        app = application(contacts.settings, core, stalled=tuple)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://away"
        ) as http:
            answer = await http.post("/v1/batch", content=BATCH, auth=(contacts.write_key, ""))

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["code"] == "unavailable"


async def test_while_the_log_is_not_settled_senders_are_told_to_come_back(contacts):
    before = await contacts.counts()
    await contacts.pool.execute("update log_epoch set settled_at = null")
    try:
        refused = await contacts.send(TRACK)
        assert await contacts.counts() == before
    finally:
        await contacts.pool.execute("update log_epoch set settled_at = now()")
    taken = await contacts.send(TRACK)

    assert (refused.status_code, refused.json()["code"]) == (503, "log-not-settled")
    assert refused.headers["Retry-After"] == "1"
    assert taken.json() == {"success": True}


@pytest.mark.parametrize("key_in_memory", [True, False])
async def test_nobody_who_is_gone_after_a_restore_is_given_what_comes_next(contacts, key_in_memory):
    await contacts.send(TRACK)
    gone = await contacts.pool.fetchval("select holder from reservation")
    if not key_in_memory:
        contacts.core.keyring._kept.clear()
    for table in ("log", "stream", "reservation", "subject_key"):
        await contacts.pool.execute(f"delete from {table}")  # noqa: S608  # constants
    await epochs.begin(contacts.pool, await epochs.newest(contacts.pool))
    try:
        taken = await contacts.send({**TRACK, "messageId": "after the restore"})
    finally:
        await contacts.pool.execute("delete from log_epoch where epoch > 1")

    assert taken.json() == {"success": True}
    holder = await contacts.pool.fetchval("select holder from reservation")
    keys = await contacts.pool.fetch("select distinct partition_key from log")
    assert [row["partition_key"] for row in keys] == [holder] != [gone]


async def test_nothing_is_refused_for_whom_a_restore_took_away(contacts):
    await contacts.send(identify("m1", anonymousId="a-1"))
    for table in ("log", "stream", "reservation", "subject_key"):
        await contacts.pool.execute(f"delete from {table}")  # noqa: S608  # constants
    await epochs.begin(contacts.pool, await epochs.newest(contacts.pool))
    try:
        # On whom the process remembers, who is gone, this would be decided: nobody is registered.
        taken = await contacts.send(identify("m2", anonymousId="a-2", traits={"plan": "pro"}))
    finally:
        await contacts.pool.execute("delete from log_epoch where epoch > 1")

    assert taken.json() == {"success": True}
    assert (await contacts.counts())["set_aside"] == 0


async def test_a_change_that_is_too_large_once_sealed_sets_its_message_aside(contacts, monkeypatch):
    monkeypatch.setattr("crm_store.log.rows.MAX_RECORD_BYTES", 3_000)
    monkeypatch.setattr("crm_store.log.rows.SURELY_FITS", 0)
    await contacts.send(identify("0"))
    large = identify("large", traits={"story": "x" * 2_500})

    answer = await contacts.send(track("1"), large, track("2"))

    assert [one["messageId"] for one in answer.json()["setAside"]] == ["large"]
    assert answer.json()["setAside"][0]["code"] == "too-large"
    assert len(await contacts.events("contacts.activity.tracked")) == 2
    assert await contacts.events("contacts.person.changed") == []


async def test_nothing_more_is_taken_of_a_person_who_was_erased(contacts):
    await contacts.send(TRACK, track("other", userId="u-2"))
    [first, _] = await contacts.events("contacts.person.registered")
    await contacts.pool.execute(
        "update subject_key set wrapped = null, kek_id = null, destroyed = now() where key_id = $1",
        str(first.customer_id),
    )
    contacts.core.keyring._kept.clear()

    batch = await contacts.send(track("1"), track("2", userId="u-2"))
    single = await contacts.http.post("/v1/track", json=track("3"), auth=(contacts.write_key, ""))

    assert [one["code"] for one in batch.json()["setAside"]] == ["erased"]
    assert (single.status_code, single.json()["code"]) == (410, "erased")
    assert (await contacts.counts())["set_aside"] == 0  # nothing of it is kept
    assert await contacts.pool.fetchval("select count(*) from log where type like '%tracked'") == 3


async def test_who_sends_too_much_at_once_is_told_to_come_back(contacts, monkeypatch):
    monkeypatch.setattr("contacts.collector.collector.MOST_REQUESTS", 0)
    app = application(contacts.settings, contacts.core, stalled=tuple)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        answer = await http.post("/v1/batch", content=BATCH, auth=(contacts.write_key, ""))

    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.headers["Retry-After"] == "1"


async def test_senders_without_a_key_leave_room_for_those_with_one(contacts, monkeypatch):
    monkeypatch.setattr("contacts.collector.collector.KEYLESS_RECEIVE_SECONDS", 3_600.0)
    del contacts.http.headers["Authorization"]
    begun, go_on = [], asyncio.Event()

    async def stalling():
        begun.append(True)
        yield b"{"
        await go_on.wait()

    idle = [
        asyncio.create_task(contacts.http.post("/v1/batch", content=stalling())) for _ in range(64)
    ]
    async with asyncio.timeout(60):
        while len(begun) + sum(one.done() for one in idle) < 64:
            await asyncio.sleep(0)

    answer = await contacts.send(TRACK)
    without = await contacts.http.post("/v1/batch", content=BATCH)
    go_on.set()
    answers = [one.status_code for one in await asyncio.gather(*idle)]

    assert answer.json() == {"success": True}
    assert (without.status_code, without.json()["code"]) == (503, "busy")
    assert (answers.count(400), answers.count(503)) == (16, 48)


async def test_a_sender_without_a_key_who_does_not_go_on_is_let_go(contacts, monkeypatch):
    monkeypatch.setattr("contacts.collector.collector.KEYLESS_RECEIVE_SECONDS", 0.01)
    del contacts.http.headers["Authorization"]

    async def stalling():
        yield b"{"
        await asyncio.Event().wait()

    answer = await contacts.http.post("/v1/batch", content=stalling())

    assert (answer.status_code, answer.json()["code"]) == (408, "too-slow")
