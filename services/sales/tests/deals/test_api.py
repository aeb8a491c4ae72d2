"""Commands about deals over HTTP, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
from crm_chassis.apikeys import keep_key, new_api_key
from crm_events.sales import DealWon
from crm_store.log.entries import VersionConflictError
from told import ANN, DAY, OTHER, OWNER, euros

EURO = {"amount": "100.50", "currency": "EUR"}
CUP = {"product_id": "cup", "quantity": "2", "unit_price": {"amount": "10.50", "currency": "EUR"}}
UNKNOWN = UUID(int=9)
COMMANDS = [
    ("POST", "/stage", {"stage": "lead"}),
    ("POST", "/amount", {"amount": EURO}),
    ("POST", "/expected-close", {"expected_close": "2026-06-30"}),
    ("POST", "/products", {"products": [CUP]}),
    ("DELETE", "/products/cup", None),
    ("POST", "/owner", {"owner_id": str(OTHER)}),
    ("POST", "/won", {"amount": EURO}),
    ("POST", "/lost", {"reason": "price"}),
    ("POST", "/reopened", {}),
]


def opening(customer_id, **fields):
    return {
        "customer_id": str(customer_id),
        "pipeline": "short",
        "title": "Cups for the café",
        "owner_id": str(OWNER),
        **fields,
    }


def problem(answer):
    return answer.status_code, answer.json()["type"].removeprefix("urn:kith:problem:")


async def rows(sales):
    return await sales.pool.fetchval("select count(*) from log where topic = 'sales.deals'")


async def test_an_opened_deal_has_a_receipt_and_its_title_is_sealed(sales):
    ann = await sales.customer()

    answer = await sales.http.post("/deals", json=opening(ann, amount=EURO))

    told = answer.json()
    assert (answer.status_code, answer.headers["ETag"], told["version"]) == (201, '"1"', 1)
    [event] = await sales.events()
    assert (str(event.deal_id), event.customer_id) == (told["stream_id"], ann)
    assert (event.stage, event.title, event.amount) == (
        "lead",
        "Cups for the café",
        euros("100.50"),
    )
    row = await sales.pool.fetchrow("select * from log where topic = 'sales.deals'")
    assert (row["stream_id"], row["partition_key"]) == (event.deal_id, ann)
    assert "café" not in row["data"]


async def test_a_deal_is_opened_with_a_customer_that_contacts_told_of(sales):
    answer = await sales.http.post("/deals", json=opening(UNKNOWN))

    assert problem(answer) == (409, "customer-unknown")
    assert await rows(sales) == 0


async def test_what_is_done_with_a_deal_is_in_its_events(sales):
    deal = await sales.open(await sales.customer())
    asked = [
        ("POST", "/amount", {"amount": EURO}),
        ("POST", "/expected-close", {"expected_close": "2026-06-30"}),
        ("POST", "/stage", {"stage": "offer"}),
        ("POST", "/products", {"products": [CUP, {**CUP, "product_id": "po.t-1"}]}),
        ("DELETE", "/products/po.t-1", None),
        ("POST", "/owner", {"owner_id": str(OTHER)}),
        ("POST", "/lost", {"reason": "price", "note": "too dear"}),
        ("POST", "/reopened", {"stage": "order"}),
        ("POST", "/won", {"won_on": "2026-06-30", "amount": EURO}),
    ]

    answers = [await sales.http.request(how, deal + path, json=body) for how, path, body in asked]

    assert [one.status_code for one in answers] == [200] * len(asked)
    assert [one.headers["ETag"] for one in answers] == [f'"{n}"' for n in range(2, 11)]
    events = await sales.events()
    assert [event.type.rpartition(".")[2] for event in events] == [
        "opened",
        "amount-changed",
        "close-date-changed",
        "stage-changed",
        "products-changed",
        "products-changed",
        "reassigned",
        "lost",
        "reopened",
        "won",
    ]
    assert (events[4].amount, events[5].amount) == (euros("42.00"), euros("21.00"))
    assert events[7].note == "too dear"
    assert events[9] == DealWon(
        deal_id=events[0].deal_id, customer_id=ANN, amount=euros("100.50"), won_on=DAY
    )


async def test_a_deal_that_is_won_without_a_day_is_won_today_where_the_company_is(sales):
    deal = await sales.open(await sales.customer(), amount=EURO)
    sales.now[0] = datetime(2026, 5, 31, 22, 30, tzinfo=UTC)  # half past midnight in Zurich

    await sales.http.post(f"{deal}/won", json={})

    assert (await sales.events())[-1].won_on.isoformat() == "2026-06-01"


async def test_an_amount_that_is_null_is_cleared(sales):
    deal = await sales.open(await sales.customer(), amount=EURO)

    answer = await sales.http.post(f"{deal}/amount", json={"amount": None})

    assert answer.status_code == 200
    assert (await sales.events())[-1].amount is None


async def test_what_changes_nothing_writes_nothing(sales):
    deal = await sales.open(await sales.customer(), amount=EURO)

    answer = await sales.http.post(f"{deal}/amount", json={"amount": EURO})

    assert answer.json() == {
        "stream_id": deal.removeprefix("/deals/"),
        "version": 1,
        "position": None,
    }
    assert await rows(sales) == 1


@pytest.mark.parametrize(
    ("path", "body", "name", "said"),
    [
        ("/stage", {"stage": "offer"}, "entry-condition-unmet", "amount, expected_close"),
        ("/stage", {"stage": "due"}, "stage-unknown", "lead, offer, order"),
        ("/lost", {"reason": "left"}, "loss-reason-unknown", "price, timing"),
        ("/won", {}, "amount-missing", "worth"),
        ("/reopened", {}, "deal-not-closed", "open"),
        ("/products", {"products": [CUP, CUP]}, "product-given-twice", "cup"),
    ],
)
async def test_a_refusal_is_answered_409_with_its_name_and_what_is_wrong(
    sales, path, body, name, said
):
    deal = await sales.open(await sales.customer())

    answer = await sales.http.post(deal + path, json=body)

    assert problem(answer) == (409, name)
    assert said in answer.json()["detail"]
    assert await rows(sales) == 1


async def test_a_closed_deal_refuses_to_move_by_name(sales):
    deal = await sales.open(await sales.customer(), amount=EURO)
    await sales.http.post(f"{deal}/won", json={})

    answer = await sales.http.post(f"{deal}/stage", json={"stage": "lead"})

    assert problem(answer) == (409, "deal-not-open")
    assert answer.json()["detail"] == "The deal is won; reopen it first."


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one[1])
async def test_a_deal_that_is_unknown_is_answered_404(sales, command):
    how, path, body = command

    answer = await sales.http.request(how, f"/deals/{UNKNOWN}{path}", json=body)

    assert problem(answer) == (404, "deal-unknown")


async def test_a_stated_version_is_held_to(sales):
    deal = await sales.open(await sales.customer())
    stated = {"If-Match": '"1"'}

    first = await sales.http.post(f"{deal}/amount", json={"amount": EURO}, headers=stated)
    second = await sales.http.post(f"{deal}/amount", json={"amount": None}, headers=stated)

    assert (first.status_code, problem(second)) == (200, (412, "version-mismatch"))


async def test_changes_at_the_same_time_are_all_made(sales, other):
    deal = await sales.open(await sales.customer())

    answers = await asyncio.gather(
        sales.http.post(f"{deal}/amount", json={"amount": EURO}),
        other.post(f"{deal}/expected-close", json={"expected_close": "2026-06-30"}),
        sales.http.post(f"{deal}/owner", json={"owner_id": str(OTHER)}),
    )

    assert [one.status_code for one in answers] == [200] * 3
    assert sorted(one.json()["version"] for one in answers) == [2, 3, 4]


async def test_of_many_who_close_a_deal_at_once_one_does(sales, other):
    deal = await sales.open(await sales.customer(), amount=EURO)

    answers = await asyncio.gather(
        *(one.post(f"{deal}/won", json={}) for one in [sales.http, other] * 4)
    )

    assert sorted(one.status_code for one in answers) == [200] + [409] * 7
    assert await rows(sales) == 2


async def test_a_command_that_others_keep_overtaking_is_tried_five_times(sales, monkeypatch):
    deal = await sales.open(await sales.customer())
    tries = []

    async def overtaken(**_):
        tries.append(1)
        raise VersionConflictError(UNKNOWN)

    monkeypatch.setattr(sales.core.log, "append", overtaken)

    answer = await sales.http.post(f"{deal}/amount", json={"amount": EURO})

    assert problem(answer) == (409, "version-conflict")
    assert len(tries) == 5


async def test_a_deal_that_is_opened_again_under_its_key_is_opened_once(sales, other):
    ann = await sales.customer()
    key = {"Idempotency-Key": "offer-7"}

    first = await sales.http.post("/deals", json=opening(ann), headers=key)
    again = await other.post("/deals", json=opening(ann), headers=key)
    reused = await sales.http.post("/deals", json=opening(ann, title="Pots"), headers=key)

    assert (first.status_code, again.json()) == (201, first.json())
    assert again.headers["ETag"] == first.headers["ETag"]
    assert problem(reused) == (422, "idempotency-key-reused")
    assert await rows(sales) == 1


async def test_of_many_that_come_at_once_under_one_key_one_is_done(sales, other):
    body, key = opening(await sales.customer()), {"Idempotency-Key": "at-once"}

    answers = await asyncio.gather(
        *(one.post("/deals", json=body, headers=key) for one in [sales.http, other] * 4)
    )

    assert {one.status_code for one in answers} == {201}
    assert len({one.json()["stream_id"] for one in answers}) == 1
    assert await rows(sales) == 1


async def test_a_change_is_answered_alike_under_its_key_whatever_came_after(sales):
    deal = await sales.open(await sales.customer())
    key = {"Idempotency-Key": "1"}
    first = await sales.http.post(f"{deal}/lost", json={"reason": "price"}, headers=key)
    nothing = await sales.http.post(
        f"{deal}/owner", json={"owner_id": str(OWNER)}, headers={"Idempotency-Key": "2"}
    )
    await sales.http.post(f"{deal}/reopened", json={})

    again = await sales.http.post(f"{deal}/lost", json={"reason": "price"}, headers=key)
    still = await sales.http.post(
        f"{deal}/owner", json={"owner_id": str(OWNER)}, headers={"Idempotency-Key": "2"}
    )

    assert (first.status_code, again.json()) == (200, first.json())
    assert (nothing.json()["position"], still.json()) == (None, nothing.json())
    assert await rows(sales) == 3


async def test_each_of_many_moves_is_answered_for_itself(sales):
    ann = await sales.customer()
    ready = await sales.open(ann, amount=EURO, expected_close="2026-06-30")
    bare = await sales.open(ann)
    ids = [path.removeprefix("/deals/") for path in (ready, bare)] + [str(UNKNOWN)]
    bulk = {"items": [{"deal_id": one, "stage": "offer"} for one in ids]}
    key = {"Idempotency-Key": "all"}

    answer = await sales.http.post("/deals/bulk/stage", json=bulk, headers=key)
    again = await sales.http.post("/deals/bulk/stage", json=bulk, headers=key)

    items = answer.json()["items"]
    assert [one["status"] for one in items] == [200, 409, 404]
    assert items[0]["answer"]["stream_id"] == ids[0]
    assert items[1]["problem"]["type"] == "urn:kith:problem:entry-condition-unmet"
    assert items[2]["problem"]["type"] == "urn:kith:problem:deal-unknown"
    assert again.json()["items"][0] == items[0]
    assert await rows(sales) == 3


async def test_of_many_moves_each_may_say_which_version_it_saw_and_the_whole_may_not(sales):
    ready = {"amount": EURO, "expected_close": "2026-06-30"}
    paths = [await sales.open(await sales.customer(), **ready) for _ in range(2)]
    moves = [{"deal_id": one.removeprefix("/deals/"), "stage": "offer"} for one in paths]
    moves[0]["if_match"], moves[1]["if_match"] = 1, 7

    whole = await sales.http.post(
        "/deals/bulk/stage", json={"items": moves}, headers={"If-Match": '"1"'}
    )
    each = await sales.http.post("/deals/bulk/stage", json={"items": moves})

    assert (whole.status_code, whole.json()["errors"][0]["pointer"]) == (422, "/If-Match")
    assert [one["status"] for one in each.json()["items"]] == [200, 412]


async def test_commands_need_their_scope(sales):
    ann, key = await sales.customer(), new_api_key()
    await keep_key(sales.pool, key, name="reader", scopes=["deals:read"])
    reader = {"Authorization": f"Bearer {key}"}
    del sales.http.headers["Authorization"]

    without = await sales.http.post("/deals", json=opening(ann))
    reading = await sales.http.post("/deals", json=opening(ann), headers=reader)

    assert (without.status_code, reading.status_code) == (401, 403)
    assert await rows(sales) == 0


async def test_nothing_more_is_recorded_of_a_customer_who_was_erased(sales):
    ann = await sales.customer()
    await sales.pool.execute(
        "update subject_key set destroyed = now(), kek_id = null, wrapped = null"
    )
    sales.core.keyring._kept.clear()

    answer = await sales.http.post("/deals", json=opening(ann))

    assert problem(answer) == (410, "erased")
    assert await rows(sales) == 0


async def test_a_key_that_is_still_on_its_way_is_a_503(sales):
    await sales.pool.execute(
        "insert into account (customer_id, told) values ($1, '{}'::jsonb)", UNKNOWN
    )

    answer = await sales.http.post("/deals", json=opening(UNKNOWN))

    assert problem(answer) == (503, "key-awaited")
    assert answer.headers["Retry-After"] == "1"
