"""Members over HTTP, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from contacts.members.mails import KIND, reserve_anew
from crm_events.topics import MEMBERS

BEA = {"name": " Bea Example ", "mail": "Bea@Kith.test"}
NOBODY = UUID(int=1)
RESERVED = "select digest, holder from reservation where kind = $1 order by holder"


async def register(contacts, **told):
    answer = await contacts.http.post("/members", json={**BEA, **told})
    assert answer.status_code == 201, answer.text
    return f"/members/{answer.json()['stream_id']}"


def problem(answer):
    return answer.status_code, answer.json()["type"].removeprefix("urn:kith:problem:")


async def test_a_member_is_registered_changed_and_read(contacts):
    registered = await contacts.http.post("/members", json=BEA)
    path = f"/members/{registered.json()['stream_id']}"
    changed = await contacts.http.patch(path, json={"mail": "b@kith.test"})
    nothing = await contacts.http.patch(path, json={"mail": "B@Kith.test", "name": "Bea Example"})
    await contacts.fold()

    shown = await contacts.http.get(path, params={"after": changed.json()["position"]})

    assert (registered.status_code, registered.headers["ETag"]) == (201, '"1"')
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert (nothing.json()["version"], nothing.json()["position"]) == (2, None)
    assert (shown.status_code, shown.headers["ETag"]) == (200, '"2"')
    assert "Stale" not in shown.headers
    assert shown.json() == {
        "member_id": registered.json()["stream_id"],
        "version": 2,
        "name": "Bea Example",
        "mail": "b@kith.test",
        "active": True,
        "registered_at": "2026-05-04T12:00:00Z",
        "changed_at": "2026-05-04T12:00:00Z",
    }


async def test_a_member_is_a_subject_with_a_key_and_a_stream_of_their_own(contacts):
    path = await register(contacts)
    member_id = path.rpartition("/")[2]

    row = await contacts.pool.fetchrow("select *, data::text as told from log")

    assert (row["topic"], str(row["partition_key"]), str(row["stream_id"])) == (
        MEMBERS.name,
        member_id,
        member_id,
    )
    assert f'"sealed":{{"{member_id}":' in row["told"]
    assert "Bea" not in row["told"]
    assert "kith.test" not in row["told"]
    assert await contacts.pool.fetch("select key_id, unsent from subject_key") == [
        (member_id, True)
    ]


async def test_a_mail_belongs_to_one_active_member(contacts, other):
    path = await register(contacts)

    taken = await contacts.http.post("/members", json={"name": "B", "mail": "bea@kith.test"})
    second = await register(contacts, mail="second@kith.test")
    changed = await contacts.http.patch(
        second, json={"mail": "bea@kith.test"}, headers={"If-Match": '"1"'}
    )
    await contacts.http.post(f"{path}/deactivated")
    freed = await contacts.http.patch(second, json={"mail": "bea@kith.test"})
    back = await contacts.http.post(f"{path}/reactivated")
    left = {"name": "C", "mail": "second@kith.test"}
    at_once = await asyncio.gather(
        *(one.http.post("/members", json=left) for one in [contacts, other] * 3)
    )

    assert problem(taken) == problem(changed) == problem(back) == (409, "mail-taken")
    assert freed.status_code == 200
    assert sorted(one.status_code for one in at_once) == [201] + [409] * 5
    person = {"identifiers": [{"namespace": "mail", "value": "bea@kith.test"}]}
    assert (await contacts.http.post("/people", json=person)).status_code == 201


async def test_a_command_that_is_sent_again_under_its_key_is_done_once(contacts):
    key = {"Idempotency-Key": "1"}
    first = await contacts.http.post("/members", json=BEA, headers=key)
    again = await contacts.http.post("/members", json=BEA, headers=key)
    path = f"/members/{first.json()['stream_id']}/deactivated"

    left = [await contacts.http.post(path, headers={"Idempotency-Key": "2"}) for _ in range(2)]

    assert (again.status_code, again.json()) == (201, first.json())
    assert (left[0].json()["version"], left[1].json()) == (2, left[0].json())
    assert (await contacts.counts())["log"] == 2


async def test_members_are_listed_in_pages_all_or_the_active_ones(contacts):
    paths = [await register(contacts, mail=f"{n}@kith.test") for n in range(5)]
    await contacts.http.post(f"{paths[1]}/deactivated")
    await contacts.fold()

    first = (await contacts.http.get("/members", params={"limit": 3})).json()
    rest = {"limit": 3, "cursor": first["next"]}
    rest = (await contacts.http.get("/members", params=rest)).json()
    active = (await contacts.http.get("/members", params={"active": True})).json()

    ids = [path.rpartition("/")[2] for path in paths]
    assert [one["member_id"] for one in first["items"] + rest["items"]] == ids
    assert rest["next"] is None
    assert [one["member_id"] for one in active["items"]] == [ids[0], *ids[2:]]


async def test_what_cannot_be_is_refused_by_name(contacts):
    path = await register(contacts)
    await contacts.http.post(f"{path}/deactivated")
    before = await contacts.counts()

    refused = await contacts.http.patch(path, json={"name": "B"})
    moved_on = await contacts.http.post(f"{path}/reactivated", headers={"If-Match": '"1"'})
    unknown = [
        await contacts.http.patch(f"/members/{NOBODY}", json={"name": "B"}),
        await contacts.http.post(f"/members/{NOBODY}/deactivated"),
        await contacts.http.post(f"/members/{NOBODY}/reactivated"),
        await contacts.http.get(f"/members/{NOBODY}"),
    ]

    assert problem(refused) == (409, "member-not-active")
    assert problem(moved_on) == (412, "version-mismatch")
    assert [problem(one) for one in unknown] == [(404, "member-unknown")] * 4
    assert await contacts.counts() == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        pytest.param({"mail": "b@kith.test"}, "/name", id="no name"),
        pytest.param({**BEA, "name": "  "}, "/name", id="a name of blanks"),
        pytest.param({**BEA, "name": "x" * 301}, "/name", id="a name of 301 characters"),
        pytest.param({**BEA, "name": "a\0"}, "/name", id="a NUL"),
        pytest.param({"name": "B"}, "/mail", id="no mail"),
        pytest.param({**BEA, "mail": "bea"}, "/mail", id="a mail that is none"),
        pytest.param({**BEA, "team": "sales"}, "/team", id="an unknown field"),
    ],
)
async def test_a_bad_registration_is_refused_by_the_fields_name(contacts, body, pointer):
    answer = await contacts.http.post("/members", json=body)

    assert problem(answer) == (422, "invalid-input")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    assert (await contacts.counts())["log"] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"name": None}, "/name"), ({"mail": None}, "/mail"), ({"mail": "b"}, "/mail")],
    ids=["a name that is cleared", "a mail that is cleared", "a mail that is none"],
)
async def test_a_bad_change_is_refused_by_the_fields_name(contacts, body, pointer):
    answer = await contacts.http.patch(f"/members/{NOBODY}", json=body)

    assert problem(answer) == (422, "invalid-input")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


async def test_reservations_are_made_anew_from_what_happened(contacts, other):
    path = await register(contacts)
    await register(contacts, mail="second@kith.test")
    await contacts.http.post(f"{path}/deactivated")
    await register(contacts)  # the mail that was let go
    erased = await register(contacts, mail="erased@kith.test")
    key_id = erased.rpartition("/")[2]
    lost = "update subject_key set wrapped = null, kek_id = null, destroyed = now()"
    await contacts.pool.execute(f"{lost} where key_id = $1", key_id)
    was = await contacts.pool.fetch(RESERVED, KIND)
    former = UUID(path.rpartition("/")[2])
    stale = "update reservation set holder = $2 where kind = $1 and holder = $3"
    await contacts.pool.execute(stale, KIND, former, was[1]["holder"])
    await contacts.pool.execute("delete from reservation where holder = $1", was[0]["holder"])

    digest_key = contacts.settings.digest_key.get_secret_value()
    await reserve_anew(other.pool, other.core.log, key=digest_key)

    assert await contacts.pool.fetch(RESERVED, KIND) == was[:2]
