"""Deals and boards over HTTP, on a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from crm_events.contacts import LinkReason, PersonLinked
from sales.accounts import directory
from sales.bootstrap import timers_of
from summing import HeldLease
from told import NOW, OTHER, OWNER

EURO = {"amount": "100.50", "currency": "EUR"}
CUP = {"product_id": "cup", "quantity": "2", "unit_price": {"amount": "10.50", "currency": "EUR"}}
UNKNOWN = UUID(int=9)


def minutes(number):
    return NOW + timedelta(minutes=number)


async def listed(sales, **parameters):
    """The titles of deals, in the order they are answered in."""
    await sales.fold()
    answer = await sales.http.get("/deals", params=parameters)
    assert answer.status_code == 200, answer.text
    return [one["title"] for one in answer.json()["items"]]


async def test_a_deal_is_shown_as_its_events_made_it(sales):
    deal = await sales.open(await sales.customer(name="Ann Example"))
    sales.now[0] = minutes(5)
    await sales.http.post(f"{deal}/products", json={"products": [CUP]})
    await sales.http.post(f"{deal}/stage", json={"stage": "order"})
    await sales.fold()

    answer = await sales.http.get(deal)

    assert answer.headers["ETag"] == '"3"'
    assert answer.json() == {
        "deal_id": deal.removeprefix("/deals/"),
        "version": 3,
        "customer_id": str(UUID(int=1)),
        "customer_name": "Ann Example",
        "title": "Cups for the café",
        "pipeline": "short",
        "stage": "order",
        "stage_since": "2026-05-04T12:05:00Z",
        "days_in_stage": 0,
        "rotted": False,
        "status": "open",
        "probability": "0.9",
        "amount": {"amount": "21.00", "currency": "EUR"},
        "expected_close": None,
        "owner_id": str(OWNER),
        "products": [
            {
                "product_id": "cup",
                "quantity": "2",
                "unit_price": {"amount": "10.50", "currency": "EUR"},
                "amount": {"amount": "21.00", "currency": "EUR"},
            }
        ],
        "opened_at": "2026-05-04T12:00:00Z",
        "closed_at": None,
        "won_on": None,
        "loss_reason": None,
        "loss_note": None,
    }


@pytest.mark.parametrize(
    ("path", "body", "shown"),
    [
        ("/won", {"won_on": "2026-05-03"}, {"status": "won", "probability": "1"}),
        (
            "/lost",
            {"reason": "price", "note": "too dear"},
            {"status": "lost", "probability": "0", "loss_reason": "price", "loss_note": "too dear"},
        ),
    ],
)
async def test_a_closed_deal_says_how_it_ended(sales, path, body, shown):
    deal = await sales.open(await sales.customer(), amount=EURO)
    await sales.http.post(deal + path, json=body)
    await sales.fold()

    told = (await sales.http.get(deal)).json()

    assert {name: told[name] for name in shown} == shown
    assert told["closed_at"] == "2026-05-04T12:00:00Z"
    assert told["won_on"] == body.get("won_on")


async def test_a_deal_is_shown_as_it_was(sales):
    ann = await sales.customer()
    deal = await sales.open(ann, amount=EURO)
    for number, (path, body) in enumerate(
        [
            ("/amount", {"amount": {"amount": "200", "currency": "EUR"}}),
            ("/won", {}),
            ("/reopened", {}),
        ],
        1,
    ):
        sales.now[0] = minutes(number)
        await sales.http.post(deal + path, json=body)

    async def then(instant):
        return await sales.http.get(deal, params={"as_of": instant.isoformat()})

    before = await then(minutes(-1))
    told = [(await then(minutes(number))).json() for number in range(4)]
    await sales.fold()
    now = (await sales.http.get(deal)).json()

    assert before.status_code == 404
    assert [one["amount"]["amount"] for one in told] == ["100.50", "200", "200", "200"]
    assert [one["status"] for one in told] == ["open", "open", "won", "open"]
    assert [one["version"] for one in told] == [1, 2, 3, 4]
    assert told[3] == now


@pytest.mark.parametrize(
    ("day", "status"), [("2026-05-03", 404), ("2026-05-04", "open"), ("2026-05-05", "won")]
)
async def test_a_deal_as_of_a_day_is_as_it_was_at_its_end_where_the_company_is(sales, day, status):
    sales.now[0] = datetime(2026, 5, 4, 21, 59, tzinfo=UTC)
    deal = await sales.open(await sales.customer(), amount=EURO)
    sales.now[0] = datetime(2026, 5, 4, 22, 1, tzinfo=UTC)  # the day after, in Zurich
    await sales.http.post(f"{deal}/won", json={})

    answer = await sales.http.get(deal, params={"as_of": day})

    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    "given", ["", "2026-5-4", "2026-02-30", "1026-05-04", "2026-05-04T12:00:00"]
)
async def test_what_is_no_day_and_no_instant_is_refused(sales, given):
    answer = await sales.http.get(f"/deals/{UNKNOWN}", params={"as_of": given})

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/as_of"]


async def test_an_unknown_deal_is_answered_404(sales):
    answers = [
        await sales.http.get(f"/deals/{UNKNOWN}"),
        await sales.http.get(f"/deals/{UNKNOWN}", params={"as_of": NOW.isoformat()}),
    ]

    assert [one.status_code for one in answers] == [404, 404]


async def test_a_read_waits_for_the_write_whose_position_it_is_given(sales):
    opened = await sales.http.post(
        "/deals",
        json={
            "customer_id": str(await sales.customer()),
            "pipeline": "short",
            "title": "Cups",
            "owner_id": str(OWNER),
        },
    )
    receipt = opened.json()
    await sales.fold()

    answer = await sales.http.get(
        f"/deals/{receipt['stream_id']}", params={"after": receipt["position"]}
    )

    assert answer.status_code == 200
    assert "Stale" not in answer.headers


async def test_deals_are_listed_by_what_they_are(sales):
    ann, bob = await sales.customer(1), await sales.customer(2)
    asked = [
        (ann, {"title": "a", "amount": EURO}),
        (ann, {"title": "b", "owner_id": str(OTHER)}),
        (bob, {"title": "c", "pipeline": "renewal"}),
    ]
    paths = []
    for number, (customer_id, fields) in enumerate(asked):
        sales.now[0] = minutes(number)
        paths.append(await sales.open(customer_id, **fields))
    await sales.http.post(f"{paths[0]}/won", json={})

    assert await listed(sales) == ["c", "b", "a"]
    assert await listed(sales, status="won") == ["a"]
    assert await listed(sales, status="open") == ["c", "b"]
    assert await listed(sales, owner_id=str(OTHER)) == ["b"]
    assert await listed(sales, customer_id=str(bob)) == ["c"]
    assert await listed(sales, pipeline="short", stage="lead") == ["b", "a"]
    assert await listed(sales, pipeline="short", status="open", owner_id=str(OWNER)) == []
    assert await listed(sales, customer_id=str(UNKNOWN)) == []


async def test_deals_of_everyone_who_is_one_person_are_listed_together(sales):
    ann, bob, cyd = [await sales.customer(number) for number in (1, 2, 3)]
    for customer_id, title in ((ann, "a"), (bob, "b"), (cyd, "c")):
        await sales.open(customer_id, title=title)
    await sales.hear(
        PersonLinked(customer_id=ann, into=bob, reason=LinkReason.STATED),
    )

    for asked in (ann, bob):
        assert sorted(await listed(sales, customer_id=str(asked))) == ["a", "b"]
    assert await listed(sales, customer_id=str(cyd)) == ["c"]


async def test_a_group_that_is_too_large_is_not_shown_in_part(sales, monkeypatch):
    ann, bob = await sales.customer(1), await sales.customer(2)
    await sales.hear(PersonLinked(customer_id=ann, into=bob, reason=LinkReason.STATED))
    await sales.fold()
    monkeypatch.setattr(directory, "MAX_MEMBERS", 1)

    answer = await sales.http.get("/deals", params={"customer_id": str(ann)})

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:kith:problem:group-too-large"


@pytest.mark.parametrize("same_time", [True, False])
async def test_pages_show_every_deal_once(sales, same_time):
    ann = await sales.customer()
    for number in range(5):
        sales.now[0] = minutes(0 if same_time else number)
        await sales.open(ann, title=str(number))
    await sales.fold()

    shown, cursor = [], {}
    for _ in range(4):
        page = (await sales.http.get("/deals", params={"limit": 2, **cursor})).json()
        shown += [one["title"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}

    assert shown == ["4", "3", "2", "1", "0"]
    assert page["next"] is None


async def test_a_board_sums_what_is_open_by_stage_and_currency(sales):
    ann = await sales.customer()
    dollars = {"amount": "10", "currency": "USD"}
    for fields in (
        {"amount": EURO},
        {"amount": {"amount": "0.000001", "currency": "EUR"}},
        {"amount": dollars},
        {},
        {"amount": EURO, "expected_close": "2026-06-30", "stage": "offer"},
        {"pipeline": "renewal", "amount": EURO},
    ):
        await sales.open(ann, **fields)
    won = await sales.open(ann, amount=EURO)
    await sales.http.post(f"{won}/won", json={})
    await sales.fold()

    board = (await sales.http.get("/pipelines/short/board")).json()

    assert board["pipeline"] == "short"
    assert board["stages"] == [
        {
            "stage": "lead",
            "probability": "0.1",
            "deals": 4,
            "rotted": 0,
            "longest_days": 0,
            "sums": [
                {"currency": "EUR", "amount": "100.500001", "weighted": "10.0500001"},
                {"currency": "USD", "amount": "10", "weighted": "1.0"},
            ],
        },
        {
            "stage": "offer",
            "probability": "0.5",
            "deals": 1,
            "rotted": 0,
            "longest_days": 0,
            "sums": [{"currency": "EUR", "amount": "100.50", "weighted": "50.250"}],
        },
        {
            "stage": "order",
            "probability": "0.9",
            "deals": 0,
            "rotted": 0,
            "longest_days": None,
            "sums": [],
        },
    ]


async def test_a_deal_that_stays_too_long_in_its_stage_rots_until_it_moves(sales):
    timers = timers_of(sales.settings, sales.core, HeldLease())
    old = await sales.open(
        await sales.customer(), title="Old", amount=EURO, expected_close="2026-06-30"
    )
    sales.now[0] = NOW + timedelta(days=10) - timedelta(microseconds=1)
    await timers.turn()
    in_time = await listed(sales, rotted=True)
    sales.now[0] = NOW + timedelta(days=10)
    await sales.open(UUID(int=1), title="Young")

    await timers.turn()
    await timers.turn()

    assert (in_time, await listed(sales, rotted=True)) == ([], ["Old"])
    assert await listed(sales, rotted=False) == ["Young"]
    told = (await sales.http.get(old)).json()
    assert (told["rotted"], told["days_in_stage"], told["version"]) == (True, 10, 2)
    assert await on_board(sales) == [(1, 10), (0, None), (0, None)]
    await sales.http.post(f"{old}/stage", json={"stage": "offer"})
    assert await listed(sales, rotted=True) == []
    assert await on_board(sales) == [(0, 0), (0, 0), (0, None)]


async def on_board(sales):
    board = (await sales.http.get("/pipelines/short/board")).json()
    return [(stage["rotted"], stage["longest_days"]) for stage in board["stages"]]


async def test_a_stage_that_the_pipeline_has_no_more_still_shows_its_deals(sales):
    deal = await sales.open(await sales.customer(), amount=EURO)
    await sales.fold()
    await sales.pool.execute("update deal set stage = 'former'")

    board = (await sales.http.get("/pipelines/short/board")).json()
    told = (await sales.http.get(deal)).json()

    assert board["stages"][-1] == {
        "stage": "former",
        "probability": None,
        "deals": 1,
        "rotted": 0,
        "longest_days": 0,
        "sums": [{"currency": "EUR", "amount": "100.50", "weighted": None}],
    }
    assert (told["probability"], told["days_in_stage"]) == (None, 0)


async def test_a_pipeline_that_is_unknown_has_no_board(sales):
    answer = await sales.http.get("/pipelines/long/board")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:kith:problem:pipeline-unknown"


async def test_pipelines_are_told_as_data(sales):
    told = (await sales.http.get("/pipelines")).json()

    assert [one["name"] for one in told] == ["short", "renewal"]
    assert told[0]["stages"][1] == {
        "name": "offer",
        "probability": "0.5",
        "requires": ["amount", "expected_close"],
        "rots_after": None,
    }
    assert told[0]["loss_reasons"] == ["price", "timing"]
