"""Commands about people over HTTP, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

from crm_chassis.http.idempotency import forget_answers
from crm_events.keys import unwrap
from crm_events.personal import SEALED

MAIL = {"namespace": "mail", "value": "Ann@Example.com"}
NOBODY = UUID(int=1)


async def register(contacts, *identifiers, **profile):
    answer = await contacts.http.post(
        "/people", json={"identifiers": identifiers or [MAIL], "profile": profile}
    )
    assert answer.status_code == 201
    return answer.json()


def problem(answer):
    return answer.status_code, answer.json()["type"].removeprefix("urn:kith:problem:")


async def test_a_registered_person_has_a_receipt_and_a_wrapped_key(contacts):
    answer = await contacts.http.post(
        "/people", json={"identifiers": [MAIL], "profile": {"name": "Ann"}}
    )

    told = answer.json()
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    assert (told["stream_id"], told["version"]) == (told["customer_id"], 1)
    keks = {kek.kek_id: kek for kek in contacts.settings.keks}
    key = unwrap(told["key"]["wrapped"], key_id=told["customer_id"], keks=keks)
    assert await contacts.core.keyring.keys([told["customer_id"]]) == {told["customer_id"]: key}
    [registered] = await contacts.events()
    assert registered.identifiers[0].value == "ann@example.com"
    assert registered.identifiers[0].given == "Ann@Example.com"
    assert registered.profile == {"name": "Ann"}


async def test_an_identifier_belongs_to_one_person(contacts):
    await register(contacts)
    before = await contacts.counts()

    answer = await contacts.http.post(
        "/people", json={"identifiers": [{"namespace": "mail", "value": "ANN@example.com"}]}
    )

    assert problem(answer) == (409, "already-taken")
    assert await contacts.counts() == before


async def test_of_many_who_register_one_identifier_at_once_one_succeeds(contacts, other):
    body = {"identifiers": [MAIL]}

    answers = await asyncio.gather(
        *(one.http.post("/people", json=body) for one in [contacts, other] * 6)
    )

    assert sorted(one.status_code for one in answers) == [201] + [409] * 11
    assert (await contacts.counts())["log"] == 1


async def test_an_absent_field_stays_and_a_null_clears(contacts):
    person = await register(contacts, name="Ann", title="Dr")

    answer = await contacts.http.patch(
        f"/people/{person['customer_id']}", json={"profile": {"title": None, "age": 30}}
    )

    assert (answer.status_code, answer.json()["version"], answer.headers["ETag"]) == (200, 2, '"2"')
    await contacts.fold()
    row = await contacts.pool.fetchval("select profile::text from person")
    assert row == '{"age": 30, "name": "Ann"}'


async def test_a_change_that_changes_nothing_writes_nothing(contacts):
    person = await register(contacts, name="Ann")

    answer = await contacts.http.patch(
        f"/people/{person['customer_id']}", json={"profile": {"name": "Ann"}}
    )

    assert answer.json() == {"stream_id": person["customer_id"], "version": 1, "position": None}


async def test_a_stated_version_is_held_to(contacts):
    person = await register(contacts)
    path = f"/people/{person['customer_id']}"

    first = await contacts.http.patch(
        path, json={"profile": {"name": "A"}}, headers={"If-Match": '"1"'}
    )
    second = await contacts.http.patch(
        path, json={"profile": {"name": "B"}}, headers={"If-Match": '"1"'}
    )

    assert (first.status_code, second.status_code) == (200, 412)


async def test_changes_at_the_same_time_are_all_made(contacts, other):
    person = await register(contacts)
    path = f"/people/{person['customer_id']}"

    answers = await asyncio.gather(
        *(
            one.http.patch(path, json={"profile": {f"field{n}": n}})
            for n, one in enumerate([contacts, other])
        )
    )

    assert [one.status_code for one in answers] == [200, 200]
    assert sorted(one.json()["version"] for one in answers) == [2, 3]


async def test_a_person_gains_an_identifier_that_is_looked_up(contacts):
    person = await register(contacts)
    phone = {"namespace": "phone", "value": "(201) 555-0123"}

    answer = await contacts.http.post(f"/people/{person['customer_id']}/identifiers", json=phone)

    found = await contacts.http.get(
        "/customers/lookup",
        params={
            "namespace": "phone",
            "value": "+12015550123",
            "after": answer.json()["position"],
        },
    )
    assert found.json()["customer_id"] == person["customer_id"]


async def test_an_identifier_of_another_is_not_gained(contacts):
    await register(contacts)
    bob = await register(contacts, {"namespace": "user", "value": "bob"})

    answer = await contacts.http.post(f"/people/{bob['customer_id']}/identifiers", json=MAIL)

    assert problem(answer) == (409, "already-taken")


async def test_a_look_up_leads_to_the_survivor_of_a_link(contacts):
    ann = await register(contacts)
    bob = await register(contacts, {"namespace": "user", "value": "bob"})
    await contacts.http.post(
        f"/people/{ann['customer_id']}/link", json={"into": bob["customer_id"]}
    )
    await contacts.fold()

    found = (await contacts.http.get("/customers/lookup", params=MAIL)).json()

    assert found == {
        "customer_id": bob["customer_id"],
        "holder": ann["customer_id"],
        "originals": [bob["customer_id"], ann["customer_id"]],
    }


async def test_links_made_at_the_same_time_close_no_circle(contacts, other):
    one = await register(contacts)
    two = await register(contacts, {"namespace": "user", "value": "2"})

    answers = await asyncio.gather(
        contacts.http.post(f"/people/{one['customer_id']}/link", json={"into": two["customer_id"]}),
        other.http.post(f"/people/{two['customer_id']}/link", json={"into": one["customer_id"]}),
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(await contacts.events("contacts.person.linked")) == 1


async def test_a_link_is_taken_back(contacts):
    ann = await register(contacts)
    bob = await register(contacts, {"namespace": "user", "value": "bob"})
    path = f"/people/{ann['customer_id']}/link"
    await contacts.http.post(path, json={"into": bob["customer_id"]})

    answer = await contacts.http.delete(path)

    assert (answer.status_code, answer.json()["version"]) == (200, 3)
    assert problem(await contacts.http.delete(path)) == (409, "not-linked")


async def test_a_person_who_is_unknown_is_answered_404(contacts):
    link = {"into": str(NOBODY)}

    answers = [
        await contacts.http.patch(f"/people/{NOBODY}", json={"profile": {"name": "A"}}),
        await contacts.http.post(f"/people/{NOBODY}/identifiers", json=MAIL),
        await contacts.http.post(f"/people/{NOBODY}/link", json=link),
        await contacts.http.delete(f"/people/{NOBODY}/link"),
        await contacts.http.get("/customers/lookup", params=MAIL),
    ]

    assert [one.status_code for one in answers] == [404] * 5


async def test_a_refusal_is_answered_409_with_its_name(contacts):
    ann = (await register(contacts))["customer_id"]
    path = f"/people/{ann}/link"

    assert problem(await contacts.http.post(path, json={"into": ann})) == (409, "link-to-self")
    assert problem(await contacts.http.post(path, json={"into": str(NOBODY)})) == (
        409,
        "link-target-unknown",
    )
    assert problem(await contacts.http.post("/people", json={"identifiers": []})) == (
        409,
        "identifier-missing",
    )


async def test_commands_need_their_scope(contacts, write_key):
    del contacts.http.headers["Authorization"]

    without = await contacts.http.post("/people", json={"identifiers": [MAIL]})
    with_write_key = await contacts.http.post(
        "/people",
        json={"identifiers": [MAIL]},
        headers={"Authorization": f"Bearer {await write_key('app')}"},
    )

    assert (without.status_code, with_write_key.status_code) == (401, 403)
    assert (await contacts.counts())["log"] == 0


async def test_an_event_read_without_its_key_hides_what_is_personal(contacts):
    await register(contacts, name="Ann")

    rows = await contacts.pool.fetch(
        "select l.*, l.xid::text as xid, l.meta::text as meta from log l"
    )
    [event] = [one.event for one in await contacts.core.log.logged(rows, opens=False)]
    assert event.profile is SEALED
    assert event.identifiers[0].value is SEALED


async def test_a_command_that_is_sent_again_under_its_key_is_done_once(contacts):
    body, key = {"identifiers": [MAIL], "profile": {"name": "Ann"}}, {"Idempotency-Key": "order-7"}

    first = await contacts.http.post("/people", json=body, headers=key)
    again = await contacts.http.post("/people", json=body, headers=key)
    path = f"/people/{first.json()['customer_id']}"
    change = {"profile": {"name": "Bea"}}
    stated = {"Idempotency-Key": "change-1", "If-Match": '"1"'}
    changed = await contacts.http.patch(path, json=change, headers=stated)
    changed_again = await contacts.http.patch(path, json=change, headers=stated)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["ETag"] == first.headers["ETag"]
    assert (changed.status_code, changed_again.json()) == (200, changed.json())
    assert (await contacts.counts())["log"] == 2


async def test_what_is_kept_of_an_answer_outlives_no_key_and_says_nothing_of_a_person(contacts):
    body, key = {"identifiers": [MAIL], "profile": {"name": "Ann"}}, {"Idempotency-Key": "ann"}
    first = (await contacts.http.post("/people", json=body, headers=key)).json()
    change = {"profile": {"name": "Bea Personal"}}
    path = f"/people/{first['customer_id']}"
    await contacts.http.patch(path, json=change, headers={"Idempotency-Key": "bea"})
    kept = await contacts.pool.fetch("select answer::text from idempotent_answer order by at")

    await contacts.pool.execute(
        "update subject_key set kek_id = null, wrapped = null, destroyed = now()"
    )
    again = (await contacts.http.post("/people", json=body, headers=key)).json()

    receipts = [(first["customer_id"], 1), (first["customer_id"], 2)]
    assert [json.loads(row["answer"]) for row in kept] == [
        {"stream_id": stream, "version": version, "position": None} for stream, version in receipts
    ]
    assert first["key"]["wrapped"]
    assert again["key"]["wrapped"] is None
    assert again["key"]["destroyed"]


async def test_a_change_of_nothing_is_answered_alike_too(contacts):
    person = await register(contacts, name="Ann")
    path, key = f"/people/{person['customer_id']}", {"Idempotency-Key": "1"}
    nothing = {"profile": {"name": "Ann"}}
    first = await contacts.http.patch(path, json=nothing, headers=key)
    await contacts.http.patch(path, json={"profile": {"name": "Bea"}})

    again = await contacts.http.patch(path, json=nothing, headers=key)

    assert again.json() == first.json()
    assert (await contacts.counts())["log"] == 2


async def test_a_key_stands_for_one_request_of_one_caller(contacts):
    key = {"Idempotency-Key": "7"}
    await contacts.http.post("/people", json={"identifiers": [MAIL]}, headers=key)

    other = await contacts.http.post("/people", json={"identifiers": []}, headers=key)
    bad = await contacts.http.post("/people", json={}, headers={"Idempotency-Key": "x" * 256})

    assert problem(other) == (422, "idempotency-key-reused")
    assert problem(bad) == (422, "invalid-input")


async def test_of_many_that_come_at_once_under_one_key_one_is_done(contacts, other):
    body, key = {"identifiers": [MAIL]}, {"Idempotency-Key": "at-once"}

    answers = await asyncio.gather(
        *(one.http.post("/people", json=body, headers=key) for one in [contacts, other] * 6)
    )

    assert {one.status_code for one in answers} == {201}
    assert len({one.json()["customer_id"] for one in answers}) == 1
    assert (await contacts.counts())["log"] == 1


async def test_what_is_refused_may_be_sent_again_under_its_key(contacts):
    await register(contacts)
    key = {"Idempotency-Key": "7"}
    taken = await contacts.http.post("/people", json={"identifiers": [MAIL]}, headers=key)

    free = {"identifiers": [{"namespace": "mail", "value": "bea@example.com"}]}
    mended = await contacts.http.post("/people", json=free, headers=key)

    assert problem(taken) == (409, "already-taken")
    assert mended.status_code == 201


async def test_a_key_is_forgotten_after_a_day(contacts):
    key = {"Idempotency-Key": "7"}
    await contacts.http.post("/people", json={"identifiers": [MAIL]}, headers=key)
    await contacts.pool.execute("update idempotent_answer set at = at - interval '25 hours'")

    answer = await contacts.http.post("/people", json={"identifiers": [MAIL]}, headers=key)

    assert problem(answer) == (409, "already-taken")


async def test_answers_that_are_forgotten_are_deleted(contacts):
    for key, hours in (("old", 25), ("new", 23)):
        sent = {"Idempotency-Key": key}
        mail = {"namespace": "mail", "value": f"{key}@example.com"}
        await contacts.http.post("/people", json={"identifiers": [mail]}, headers=sent)
        await contacts.pool.execute(
            "update idempotent_answer set at = now() - make_interval(hours => $2) where key = $1",
            key,
            hours,
        )
    stop = asyncio.Event()

    running = asyncio.create_task(forget_answers(stop, beat=lambda: None, pool=contacts.pool))
    async with asyncio.timeout(60):
        while await contacts.pool.fetchval("select count(*) from idempotent_answer") > 1:
            await asyncio.sleep(0.02)
    stop.set()
    await running

    assert await contacts.pool.fetchval("select key from idempotent_answer") == "new"


async def test_each_of_many_is_answered_for_itself(contacts):
    bea = {"namespace": "mail", "value": "bea@example.com"}
    bulk = {"items": [{"identifiers": [MAIL]}, {"identifiers": [MAIL]}, {"identifiers": [bea]}]}
    key = {"Idempotency-Key": "all"}

    answer = await contacts.http.post("/people/bulk", json=bulk, headers=key)
    again = await contacts.http.post("/people/bulk", json=bulk, headers=key)

    items = answer.json()["items"]
    assert [one["status"] for one in items] == [201, 409, 201]
    assert items[1]["problem"]["type"] == "urn:kith:problem:already-taken"
    assert [one["answer"] for one in again.json()["items"]] == [one["answer"] for one in items]
    assert (await contacts.counts())["log"] == 2


async def test_more_than_a_hundred_at_once_are_refused(contacts):
    answer = await contacts.http.post("/people/bulk", json={"items": [{"identifiers": []}] * 101})

    assert problem(answer) == (422, "invalid-input")
