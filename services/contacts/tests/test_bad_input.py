"""Bad input at the collector and the commands: refused by name, and nothing else happens."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any
from uuid import UUID

import pytest

GOOD = {"type": "track", "userId": "good", "event": "Clicked"}
PERSON = UUID(int=1)
MEGABYTE = 1024 * 1024
JSON = {"Content-Type": "application/json"}


def raw(text: str, **more: Any) -> bytes:
    """A tracked call whose properties are `text`, as no JSON library would write it."""
    return json.dumps({**GOOD, "properties": "@", **more}).replace('"@"', text).encode()


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def keys(number: int) -> str:
    return json.dumps({f"k{n}": n for n in range(number)})


# What is wrong with one event, wherever it comes from: (id, JSON text of the properties, code,
# pointer within the event).
VALUES = [
    ("a NUL in a text", r'{"a": "x\u0000y"}', "nul-character", "/properties/a"),
    ("a NUL in a key", r'{"a\u0000": 1}', "nul-character", "/properties"),
    ("half a surrogate pair", r'{"a": "\ud800"}', "lone-surrogate", "/properties/a"),
    ("half a surrogate pair in a key", r'{"\udfff": 1}', "lone-surrogate", "/properties"),
    ("NaN", '{"a": NaN}', "not-finite", "/properties/a"),
    ("minus infinity", '{"a": [-Infinity]}', "not-finite", "/properties/a/0"),
    ("a number that is no double", '{"a": 1e400}', "not-finite", "/properties/a"),
    ("2^63", '{"a": 9223372036854775808}', "integer-range", "/properties/a"),
    ("an integer of 5,000 digits", '{"a": ' + "9" * 5000 + "}", "integer-range", "/properties/a"),
    ("a key twice", '{"a": 1, "a": 2}', "duplicate-key", "/properties/a"),
    ("40 levels", '{"a": ' + nested(40) + "}", "too-deep", "/properties/a" + "/0" * 30),
    ("1,001 keys", keys(1001), "too-many-keys", "/properties"),
    ("300 kB", json.dumps({"a": "x" * 300_000}), "too-large", ""),
]

# What is wrong with one call: (id, changes to a good one, code, pointer).
CALLS = [
    ("no id", {"userId": None}, "missing-id", "/userId"),
    ("an empty id", {"userId": ""}, "missing-id", "/userId"),
    ("an id of blanks", {"userId": "  "}, "invalid-id", "/userId"),
    ("an id of 256 bytes", {"userId": "é" * 128}, "invalid-id", "/userId"),
    ("an id that is an object", {"userId": {"$oid": "1"}}, "invalid-id", "/userId"),
    ("an id that is a fraction", {"userId": 1.5}, "invalid-id", "/userId"),
    ("an id that is true", {"anonymousId": True}, "invalid-id", "/anonymousId"),
    ("an id with a line break", {"userId": "a\nb"}, "invalid-id", "/userId"),
    ("a message id of 256 bytes", {"messageId": "m" * 256}, "invalid-id", "/messageId"),
    ("a message id that is a list", {"messageId": ["m"]}, "invalid-id", "/messageId"),
    ("no event name", {"event": None}, "missing-field", "/event"),
    ("an event name that is none", {"event": {"name": "x"}}, "invalid-field", "/event"),
    ("an event name of 256 bytes", {"event": "e" * 256}, "invalid-field", "/event"),
    ("properties that are a list", {"properties": [1]}, "invalid-field", "/properties"),
    ("context that is text", {"context": "web"}, "invalid-field", "/context"),
    ("a time that is none", {"timestamp": "soon"}, "invalid-timestamp", "/timestamp"),
    ("a time that is a number", {"timestamp": 1714824000}, "invalid-timestamp", "/timestamp"),
    ("30 February", {"timestamp": "2026-02-30T00:00:00Z"}, "invalid-timestamp", "/timestamp"),
    ("year 10,000", {"timestamp": "10000-01-01T00:00:00Z"}, "invalid-timestamp", "/timestamp"),
    ("before year 1", {"timestamp": "0001-01-01T00:00:00+14:00"}, "invalid-timestamp",
     "/timestamp"),
    ("the last instant of all", {"timestamp": "9999-12-31T23:59:59.999999Z"}, "invalid-timestamp",
     "/timestamp"),
    ("the first instant of all", {"timestamp": "0001-01-01T00:00:00Z"}, "invalid-timestamp",
     "/timestamp"),
    ("year 2200", {"timestamp": "2200-01-01T00:00:00Z"}, "invalid-timestamp", "/timestamp"),
    ("before 1900 by our clock", {"timestamp": "1900-01-01T00:00:00Z",
     "sentAt": "2100-01-01T00:00:00Z"}, "invalid-timestamp", "/timestamp"),
    ("an order without an id", {"event": "Order Completed", "properties": {"total": 1}},
     "missing-id", "/properties/order_id"),
    ("an order without money", {"event": "Order Completed", "properties": {"order_id": "o"}},
     "invalid-money", "/properties/total"),
    ("an order of 'lots'",
     {"event": "Order Completed", "properties": {"order_id": "o", "total": "lots"}},
     "invalid-money", "/properties/total"),
    ("an order below zero",
     {"event": "Order Completed", "properties": {"order_id": "o", "total": -1}},
     "invalid-money", "/properties/total"),
    ("a total that was rounded on the way",
     {"event": "Order Refunded", "properties": {"order_id": "o", "total": 12345678901234567.89}},
     "invalid-money", "/properties/total"),
    ("a currency that is none",
     {"event": "Order Refunded", "properties": {"order_id": "o", "total": 1, "currency": "$"}},
     "invalid-money", "/properties/currency"),
    ("products that are none",
     {"event": "Order Completed", "properties": {"order_id": "o", "total": 1, "products": "p"}},
     "invalid-products", "/properties/products"),
    ("a price that is none",
     {"event": "Order Completed",
      "properties": {"order_id": "o", "total": 1, "products": [{"price": "?"}]}},
     "invalid-money", "/properties/products/0/price"),
]  # fmt: skip

# What is wrong with a request as a whole: (id, body, headers, status, code, detail).
GZIP = {"Content-Encoding": "gzip"}
REQUESTS = [
    ("nothing", b"", {}, 400, "invalid-json", ""),
    ("no JSON", b"batch=1", {}, 400, "invalid-json", ""),
    ("half of it", b'{"batch": [{"type":', {}, 400, "invalid-json", ""),
    ("two documents", b'{"batch": []}{"batch": []}', {}, 400, "invalid-json", ""),
    ("a list", b"[]", {}, 400, "not-an-object", ""),
    ("a number", b"1", {}, 400, "not-an-object", ""),
    ("null", b"null", {}, 400, "not-an-object", ""),
    ("Latin-1", '{"batch": ["é"]}'.encode("latin-1"), {}, 400, "invalid-utf8", ""),
    ("UTF-16", '{"batch": []}'.encode("utf-16"), {}, 400, "invalid-utf8", ""),
    ("no batch", b"{}", {}, 400, "missing-batch", "/batch"),
    ("a batch that is an object", b'{"batch": {}}', {}, 400, "missing-batch", "/batch"),
    ("1,001 messages", json.dumps({"batch": [GOOD] * 1001}).encode(), {}, 400,
     "too-many-events", "/batch"),
    ("100,000 levels", b'{"batch": ' + nested(100_000).encode() + b"}", {}, 400, "too-deep", ""),
    ("a sending time that is none", json.dumps({"batch": [GOOD], "sentAt": "x"}).encode(), {}, 400,
     "invalid-timestamp", "/sentAt"),
    ("a context that is a list", json.dumps({"batch": [GOOD], "context": [1]}).encode(), {}, 400,
     "invalid-field", "/context"),
    ("a NUL beside the batch", rb'{"batch": [], "x": "\u0000"}', {}, 400, "nul-character", "/x"),
    ("5 MB", b" " * 5 * MEGABYTE, {}, 413, "too-large", ""),
    ("20 MB", b" " * 20 * MEGABYTE, {}, 413, "too-large", ""),
    ("a bomb", gzip.compress(b" " * 20 * MEGABYTE), GZIP, 413, "too-large", ""),
    ("a bomb in a bomb", gzip.compress(gzip.compress(b" " * 50 * MEGABYTE)), GZIP, 400,
     "invalid-utf8", ""),
    ("no gzip", b'{"batch": []}', GZIP, 400, "not-compressed", "Content-Encoding"),
    ("half a gzip", gzip.compress(b'{"batch": []}')[:-9], GZIP, 400, "not-compressed",
     "Content-Encoding"),
    ("more behind a gzip", gzip.compress(b'{"batch": []}') + b"x", GZIP, 400, "not-compressed",
     "Content-Encoding"),
    ("no deflate", b"\x78\x9cxxxx", {"Content-Encoding": "deflate"}, 400, "not-compressed",
     "Content-Encoding"),
    ("Brotli", b"\x0b\x02\x80", {"Content-Encoding": "br"}, 415, "unknown-encoding",
     "Content-Encoding"),
    ("two encodings", zlib.compress(b"{}"), {"Content-Encoding": "gzip, deflate"}, 415,
     "unknown-encoding", "Content-Encoding"),
    ("a write key nobody has", b'{"batch": []}', {"Authorization": "Bearer c" + "0" * 24}, 401,
     "unknown-write-key", "writeKey"),
    ("a write key that is none", b'{"batch": []}', {"Authorization": "Bearer \xff"}, 401,
     "unknown-write-key", "writeKey"),
    ("Basic that is none", b'{"batch": []}', {"Authorization": "Basic ???"}, 401,
     "unknown-write-key", "writeKey"),
    ("another scheme", b'{"batch": []}', {"Authorization": "Digest a=b"}, 401,
     "unknown-write-key", "writeKey"),
    ("no write key", b'{"batch": []}', {"Authorization": ""}, 401, "unknown-write-key",
     "writeKey"),
]  # fmt: skip


def parameters(cases):
    return pytest.mark.parametrize(
        ("told", "code", "pointer"), [pytest.param(*case[1:], id=case[0]) for case in cases]
    )


async def assert_good_after(contacts, before):
    """Nothing was written, and a good event goes through."""
    assert await contacts.counts() == before
    answer = await contacts.send(GOOD)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert (await contacts.counts())["log"] == before["log"] + 2  # its sender is new


@parameters(VALUES)
async def test_a_value_that_cannot_be_kept_is_refused_by_name(contacts, told, code, pointer):
    before = await contacts.counts()

    answer = await contacts.http.post("/v1/track", content=raw(told), auth=(contacts.write_key, ""))

    assert answer.status_code == (413 if code == "too-large" else 400)
    assert (answer.json()["code"], answer.json()["detail"]) == (code, pointer)
    await assert_good_after(contacts, before)


@parameters(VALUES)
async def test_a_value_that_cannot_be_kept_is_set_aside_out_of_a_batch(
    contacts, told, code, pointer
):
    before = await contacts.counts()
    body = b'{"batch": [' + raw(told, messageId="bad") + b"]}"

    answer = await contacts.http.post("/v1/batch", content=body, auth=(contacts.write_key, ""))

    assert answer.status_code == 200
    [aside] = answer.json()["setAside"]
    assert (aside["code"], aside["messageId"]) == (code, "bad")
    assert aside["detail"].startswith(pointer)
    await assert_good_after(contacts, {**before, "set_aside": 1})


@parameters(CALLS)
async def test_a_bad_call_is_refused_by_name(contacts, told, code, pointer):
    before = await contacts.counts()

    answer = await contacts.http.post(
        "/v1/track", json={**GOOD, **told}, auth=(contacts.write_key, "")
    )

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["detail"] == pointer
    assert answer.json()["message"]
    await assert_good_after(contacts, before)


@parameters(CALLS)
async def test_a_bad_call_is_set_aside_out_of_a_batch(contacts, told, code, pointer):
    before = await contacts.counts()

    answer = await contacts.send({**GOOD, **told})

    [aside] = answer.json()["setAside"]
    assert (aside["index"], aside["code"]) == (0, code)
    assert aside["detail"].startswith(pointer)
    await assert_good_after(contacts, {**before, "set_aside": 1})


@pytest.mark.parametrize("case", [pytest.param(case[1:], id=case[0]) for case in REQUESTS])
async def test_a_bad_request_is_refused_whole(contacts, case):
    body, headers, status, code, detail = case
    before = await contacts.counts()
    sent = {"Authorization": f"Bearer {contacts.write_key}", **headers}
    sent = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]

    answer = await contacts.http.post("/v1/batch", content=body, headers=sent)

    assert answer.status_code == status
    assert (answer.json()["code"], answer.json()["detail"]) == (code, detail)
    assert set(answer.json()) == {"code", "message", "detail"}
    await assert_good_after(contacts, before)


@pytest.mark.parametrize("kept", ["properties", "context", "traits"])
async def test_a_message_may_hold_exactly_what_the_limits_say(contacts, kept):
    room = 256 * 1024 - len(json.dumps({**GOOD, "type": "identify", kept: {"a": ""}}))
    message = {**GOOD, "type": "identify", kept: {"a": "x" * room}}
    assert len(json.dumps(message)) == 256 * 1024

    answer = await contacts.http.post(
        "/v1/identify", content=json.dumps(message), auth=(contacts.write_key, "")
    )

    assert answer.status_code in {200, 413}
    if answer.status_code == 413:
        assert answer.json()["code"] == "too-large"
        assert (await contacts.counts())["log"] == 0


async def test_ids_and_times_at_their_limits_are_taken(contacts):
    answer = await contacts.send(
        {**GOOD, "userId": "u" * 255, "messageId": "m" * 255},
        {**GOOD, "userId": 9223372036854775807, "messageId": -9223372036854775808},
        {**GOOD, "timestamp": "2199-12-31T23:59:59.999999Z"},
        {**GOOD, "timestamp": "1900-01-01T00:00:00Z"},
        {**GOOD, "timestamp": "2026-05-04T12:00:00.123456789+02:00"},
        {**GOOD, "properties": None, "context": None, "timestamp": None, "integrations": None},
    )

    assert answer.json() == {"success": True}
    await contacts.fold()


# --- commands --------------------------------------------------------------------------------

MAIL = '{"namespace": "mail", "value": "ann@example.com"}'


def person(profile: str = "{}", identifiers: str = f"[{MAIL}]", more: str = "") -> str:
    return f'{{"identifiers": {identifiers}, "profile": {profile}{more}}}'


def identified(namespace: str, value: str) -> str:
    return person(identifiers=f'[{{"namespace": "{namespace}", "value": {value}}}]')


# What is wrong with a registration: body, status, problem, pointer.
REGISTRATIONS = [
    ("nothing", "", 422, "invalid-input", ""),
    ("no JSON", "name=ann", 400, "malformed-json", None),
    ("a list", "[]", 422, "invalid-input", ""),
    ("an unknown field", person(more=', "nmae": 1'), 422, "invalid-input", "/nmae"),
    ("no identifiers", '{"profile": {}}', 422, "invalid-input", "/identifiers"),
    ("no identifier", person(identifiers="[]"), 409, "identifier-missing", None),
    ("101 identifiers", person(identifiers=f"[{','.join([MAIL] * 101)}]"), 422, "invalid-input",
     "/identifiers"),
    ("an unknown namespace", identified("fax", '"1"'), 422, "invalid-input",
     "/identifiers/0/namespace"),
    ("a mail that is none", identified("mail", '"ann"'), 422, "invalid-input",
     "/identifiers/0/value"),
    ("a phone that is none", identified("phone", '"call me"'), 422, "invalid-input",
     "/identifiers/0/value"),
    ("an id that is a number", identified("user", "7"), 422, "invalid-input",
     "/identifiers/0/value"),
    ("an id of 256 bytes", identified("user", f'"{"é" * 128}"'), 422, "invalid-input",
     "/identifiers/0/value"),
    ("an id with a line break", identified("user", r'"a\nb"'), 422, "invalid-input",
     "/identifiers/0/value"),
    ("an id with a NUL", identified("user", r'"a\u0000"'), 422, "invalid-input",
     "/identifiers/0/value"),
    ("a profile that is a list", person("[]"), 422, "invalid-input", "/profile"),
    ("a NUL", person(r'{"name": "\u0000"}'), 422, "invalid-input", "/profile/name"),
    ("half a surrogate pair", person(r'{"name": "\ud800"}'), 422, "invalid-input",
     "/profile/name"),
    ("NaN", person('{"age": NaN}'), 422, "invalid-input", "/profile/age"),
    ("a number that is no double", person('{"age": 1e400}'), 422, "invalid-input", "/profile/age"),
    ("2^63", person('{"age": 9223372036854775808}'), 422, "invalid-input", "/profile/age"),
    ("a key twice", person('{"age": 1, "age": 2}'), 422, "invalid-input", "/profile/age"),
    ("40 levels", person('{"a": ' + nested(40) + "}"), 422, "invalid-input",
     "/profile/a" + "/0" * 30),
    ("1,001 keys", person(keys(1001)), 422, "invalid-input", "/profile"),
    ("300 kB", person(json.dumps({"a": "x" * 300_000})), 413, "too-large", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "name", "pointer"),
    [pytest.param(*case[1:], id=case[0]) for case in REGISTRATIONS],
)
async def test_a_bad_registration_is_refused_by_name(contacts, body, status, name, pointer):
    before = await contacts.counts()

    answer = await contacts.http.post("/people", content=body, headers=JSON)

    told = answer.json()
    assert (answer.status_code, told["type"]) == (status, f"urn:kith:problem:{name}")
    if pointer is not None:
        assert [error["pointer"] for error in told["errors"]] == [pointer]
    assert await contacts.counts() == before
    good = await contacts.http.post("/people", content=person(), headers=JSON)
    assert good.status_code == 201


# What is wrong with another request: method, path, JSON, headers, status, pointer.
REQUESTS_TO_PEOPLE = [
    ("a change of nobody's id", "PATCH", "/people/ann", {"profile": {}}, {}, 422, "/customer_id"),
    ("a change without a profile", "PATCH", f"/people/{PERSON}", {}, {}, 422, "/profile"),
    ("a change of an unknown field", "PATCH", f"/people/{PERSON}", {"profile": {}, "x": 1}, {},
     422, "/x"),
    ("a change of somebody unknown", "PATCH", f"/people/{PERSON}", {"profile": {}}, {}, 404, None),
    ("a version that is none", "PATCH", f"/people/{PERSON}", {"profile": {}},
     {"If-Match": "W/x"}, 422, "/If-Match"),
    ("a version too large", "PATCH", f"/people/{PERSON}", {"profile": {}},
     {"If-Match": '"99999999999"'}, 422, "/If-Match"),
    ("an identifier that is none", "POST", f"/people/{PERSON}/identifiers",
     {"namespace": "mail", "value": "x"}, {}, 422, "/value"),
    ("a link into nothing", "POST", f"/people/{PERSON}/link", {"into": None}, {}, 422, "/into"),
    ("a link into no id", "POST", f"/people/{PERSON}/link", {"into": "bob"}, {}, 422, "/into"),
    ("a link of somebody unknown", "POST", f"/people/{PERSON}/link", {"into": str(PERSON)}, {},
     404, None),
    ("a link taken back of nobody", "DELETE", f"/people/{PERSON}/link", None, {}, 404, None),
    ("a look-up in no namespace", "GET", "/customers/lookup?namespace=fax&value=1", None, {}, 422,
     "/namespace"),
    ("a look-up of no mail", "GET", "/customers/lookup?namespace=mail&value=x", None, {}, 422,
     "/value"),
    ("a look-up of nothing", "GET", "/customers/lookup?namespace=mail", None, {}, 422, "/value"),
    ("a look-up of a NUL", "GET", "/customers/lookup?namespace=user&value=%00", None, {}, 422, ""),
    ("a file at no instant", "GET", f"/customers/{PERSON}?at=soon", None, {}, 422, "/at"),
    ("a file before year 1", "GET",
     f"/customers/{PERSON}?at=0001-01-01T00:00:00%2B14:00", None, {}, 422, "/at"),
    ("a file after no position", "GET", f"/customers/{PERSON}?after=x", None, {}, 422, "/after"),
    ("a page of nothing", "GET", f"/customers/{PERSON}/timeline?limit=0", None, {}, 422, "/limit"),
    ("a page at no cursor", "GET", f"/customers/{PERSON}/timeline?cursor=x", None, {}, 404, None),
    ("a page as of no instant", "GET", f"/customers/{PERSON}/timeline?as_of=x", None, {}, 422,
     "/as_of"),
    ("a list at no cursor", "GET", "/collector/set-aside?cursor=%21", None, {}, 422, "/cursor"),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(case[1:], id=case[0]) for case in REQUESTS_TO_PEOPLE]
)
async def test_a_bad_request_about_people_is_refused_by_name(contacts, case):
    method, path, body, headers, status, pointer = case
    before = await contacts.counts()

    answer = await contacts.http.request(method, path, json=body, headers=headers)

    assert answer.status_code == status
    if pointer is not None:
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert await contacts.counts() == before
    good = await contacts.http.post("/people", content=person(), headers=JSON)
    assert good.status_code == 201
