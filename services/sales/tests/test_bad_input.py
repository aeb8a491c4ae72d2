"""Bad input is refused by the name of its field; nothing is written, and good input goes on."""

from __future__ import annotations

from uuid import UUID

import pytest
from told import OWNER

ANN = UUID(int=1)
JSON = {"Content-Type": "application/json"}


def opening(**fields):
    told = {
        "customer_id": f'"{ANN}"',
        "pipeline": '"short"',
        "title": '"Cups"',
        "owner_id": f'"{OWNER}"',
        **fields,
    }
    return "{" + ", ".join(f'"{name}": {value}' for name, value in told.items()) + "}"


def amount(value, currency='"EUR"'):
    return opening(amount=f'{{"amount": {value}, "currency": {currency}}}')


# What is wrong with an opening: id, body, status, problem, pointer.
OPENINGS = [
    ("nothing", "", 422, "invalid-input", ""),
    ("no JSON", "title=cups", 400, "malformed-json", None),
    ("a list", "[]", 422, "invalid-input", ""),
    ("an unknown field", opening(titel='"x"'), 422, "invalid-input", "/titel"),
    ("a customer that is no id", opening(customer_id='"ann"'), 422, "invalid-input",
     "/customer_id"),
    ("an owner that is no id", opening(owner_id="7"), 422, "invalid-input", "/owner_id"),
    ("no title", opening(title='""'), 422, "invalid-input", "/title"),
    ("a title of 301", opening(title=f'"{"x" * 301}"'), 422, "invalid-input", "/title"),
    ("a title with a NUL", opening(title=r'"a\u0000"'), 422, "invalid-input", "/title"),
    ("half a surrogate pair", opening(title=r'"\ud800"'), 422, "invalid-input", "/title"),
    ("a pipeline of another form", opening(pipeline='"Short"'), 422, "invalid-input", "/pipeline"),
    ("a stage of another form", opening(stage='"a b"'), 422, "invalid-input", "/stage"),
    ("an amount with a point that is a number", amount("10.5"), 422, "invalid-input",
     "/amount/amount"),
    ("an amount below zero", amount('"-1"'), 422, "invalid-input", "/amount/amount"),
    ("an amount that is none", amount('"1e3"'), 422, "invalid-input", "/amount/amount"),
    ("NaN", amount('"NaN"'), 422, "invalid-input", "/amount/amount"),
    ("a NaN that is no text", amount("NaN"), 422, "invalid-input", "/amount/amount"),
    ("seven places", amount('"0.0000001"'), 422, "invalid-input", "/amount/amount"),
    ("thirteen digits", amount('"1000000000000"'), 422, "invalid-input", "/amount/amount"),
    ("an amount that is true", amount("true"), 422, "invalid-input", "/amount/amount"),
    ("a currency that is none", amount('"1"', '"euro"'), 422, "invalid-input",
     "/amount/currency"),
    ("an unknown field of an amount", opening(
        amount='{"amount": "1", "currency": "EUR", "tax": 1}'), 422, "invalid-input",
     "/amount/tax"),
    ("a day that is none", opening(expected_close='"2026-02-30"'), 422, "invalid-input",
     "/expected_close"),
    ("a day that is a number", opening(expected_close="0"), 422, "invalid-input",
     "/expected_close"),
    ("a day that is an instant", opening(expected_close='"2026-05-04T00:00:00Z"'), 422,
     "invalid-input", "/expected_close"),
    ("a pipeline that there is not", opening(pipeline='"long"'), 409, "pipeline-unknown", None),
    ("5 MB", opening(title=f'"{"x" * 5_000_000}"'), 413, "too-large", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "name", "pointer"),
    [pytest.param(*case[1:], id=case[0]) for case in OPENINGS],
)
async def test_a_bad_opening_is_refused_by_name(sales, body, status, name, pointer):
    await sales.customer()

    answer = await sales.http.post("/deals", content=body, headers=JSON)

    told = answer.json()
    assert (answer.status_code, told["type"]) == (status, f"urn:kith:problem:{name}")
    if pointer is not None:
        assert [error["pointer"] for error in told["errors"]] == [pointer]
    assert await sales.events() == []
    good = await sales.http.post("/deals", content=opening(), headers=JSON)
    assert good.status_code == 201


LINE = {"product_id": "a", "quantity": "1", "unit_price": {"amount": "1", "currency": "EUR"}}
# What is wrong with another request: method, path below the deal, JSON, headers, status, pointer.
REQUESTS = [
    ("no stage", "POST", "/stage", {}, {}, 422, "/stage"),
    ("no amount at all", "POST", "/amount", {}, {}, 422, "/amount"),
    ("no day at all", "POST", "/expected-close", {}, {}, 422, "/expected_close"),
    ("no products", "POST", "/products", {"products": []}, {}, 422, "/products"),
    ("101 products", "POST", "/products", {"products": [LINE] * 101}, {}, 422, "/products"),
    ("none of a product", "POST", "/products", {"products": [{**LINE, "quantity": "0"}]}, {}, 422,
     "/products/0/quantity"),
    ("a product with a slash", "POST", "/products", {"products": [{**LINE, "product_id": "a/b"}]},
     {}, 422, "/products/0/product_id"),
    ("a product that is taken off and none", "DELETE", "/products/%C3%A9", None, {}, 422,
     "/product_id"),
    ("no reason", "POST", "/lost", {"note": "x"}, {}, 422, "/reason"),
    ("an empty note", "POST", "/lost", {"reason": "price", "note": ""}, {}, 422, "/note"),
    ("won on no day", "POST", "/won", {"won_on": "soon"}, {}, 422, "/won_on"),
    ("nobody's deal", "POST", "/owner", {"owner_id": None}, {}, 422, "/owner_id"),
    ("a version that is none", "POST", "/stage", {"stage": "lead"}, {"If-Match": "W/x"}, 422,
     "/If-Match"),
    ("a key that is none", "POST", "/stage", {"stage": "lead"}, {"Idempotency-Key": "a b"}, 422,
     "/Idempotency-Key"),
    ("as of no instant", "GET", "?as_of=soon", None, {}, 422, "/as_of"),
    ("as of an instant without a zone", "GET", "?as_of=2026-05-04T12:00:00", None, {}, 422,
     "/as_of"),
    ("as of the end of time", "GET", "?as_of=9999-12-31T23:59:59Z", None, {}, 422, "/as_of"),
    ("after no position", "GET", "?after=x", None, {}, 422, "/after"),
]  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(case[1:], id=case[0]) for case in REQUESTS])
async def test_a_bad_request_about_a_deal_is_refused_by_name(sales, case):
    method, path, body, headers, status, pointer = case
    deal = await sales.open(await sales.customer())

    answer = await sales.http.request(method, deal + path, json=body, headers=headers)

    assert answer.status_code == status
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert len(await sales.events()) == 1


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/deals/cups", "/deal_id"),
        ("/deals?limit=0", "/limit"),
        ("/deals?cursor=x", "/cursor"),
        ("/deals?status=closed", "/status"),
        ("/deals?owner_id=bob", "/owner_id"),
        ("/deals?stage=%20", "/stage"),
        ("/pipelines/Short/board", "/name"),
    ],
)
async def test_a_bad_question_is_refused_by_name(sales, path, pointer):
    answer = await sales.http.get(path)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_more_than_a_hundred_moves_at_once_are_refused(sales):
    items = [{"deal_id": str(ANN), "stage": "lead"}] * 101

    answer = await sales.http.post("/deals/bulk/stage", json={"items": items})

    assert answer.status_code == 422
