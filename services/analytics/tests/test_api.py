"""The API of analytics, on a real database: what it says, how fresh it is, what it refuses."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from heard import (
    DAY,
    HOUR,
    LANDMARK,
    customer,
    heard,
    linked,
    order,
    page,
    refund,
    tracked,
)

NOW = datetime.now(UTC)  # noqa: TID251  # scores are asked for as of now
FIRST = f"/customers/{customer(1)}"


@pytest.fixture
async def asked(analytics, http):
    """A customer of two ids with a month behind, and another one."""
    days_ago = [NOW - n * DAY for n in range(40)]
    morning = days_ago[9].replace(hour=1)
    await analytics.hear(
        [
            heard(order("10.10"), days_ago[30], number=1),
            heard(order("20.20", number=2), days_ago[20], number=2),
            heard(refund("5.05"), days_ago[10], number=3),
            *(heard(page(), morning + n * HOUR, number=10 + n) for n in range(5)),
            heard(tracked("Signed Up", 2), days_ago[5], number=20),
            heard(linked(2, 1), days_ago[4], number=21),
            heard(order("7.00", number=3, currency="EUR"), days_ago[1], number=22),
            heard(order("0.30", number=3), days_ago[1] + 3 * DAY, number=23,
                  recorded_at=days_ago[1]),
        ]
    )  # fmt: skip
    await analytics.fold()
    await analytics.publish()
    return http


async def test_a_score_is_the_sum_of_its_explanation(asked):
    score = (await asked.get(f"{FIRST}/score?explain=true&group_by=kind")).json()

    why = score["explanation"]
    values = [one["value"] for one in why["contributions"]]
    assert math.isclose(math.fsum(values), score["value"], rel_tol=1e-9)
    assert math.isclose(
        math.fsum(part["value"] for part in why["groups"]), score["value"], rel_tol=1e-9
    )
    assert values == sorted(values, key=abs, reverse=True)
    assert score["members"] == [str(customer(1)), str(customer(2))]
    assert score["root"] == str(customer(1))
    assert {part["name"] for part in why["groups"]} == {"purchase", "refund", "page", "sign-up"}
    assert all(one["why"] for one in why["contributions"])
    left_out = [one for one in why["contributions"] if one["status"] == "left-out-by-cap"]
    assert len(left_out) == 2
    assert {one["value"] for one in left_out} == {0.0}


async def test_what_is_not_listed_is_told_as_a_rest(asked):
    why = (await asked.get(f"{FIRST}/score/explanation?limit=1&group_by=month")).json()

    assert len(why["contributions"]) == 1
    assert why["rest"]["facts"] == why["facts"] - 1
    assert math.isclose(
        why["contributions"][0]["value"] + why["rest"]["value"], why["value"], rel_tol=1e-9
    )
    assert abs(why["difference"]) < 1e-9


async def test_a_linked_id_shows_the_score_of_the_whole_person(asked):
    at = (NOW + DAY).isoformat()
    one = (await asked.get(f"{FIRST}/score", params={"at": at})).json()
    other = (await asked.get(f"/customers/{customer(2)}/score", params={"at": at})).json()

    assert other["value"] == one["value"]
    assert other["root"] == str(customer(1))


async def test_a_past_score_rests_on_what_had_happened_or_on_what_was_known(asked):
    at = (NOW - 4 * DAY - HOUR).isoformat()

    happened = (await asked.get(f"{FIRST}/score", params={"at": at})).json()
    known = (await asked.get(f"{FIRST}/score", params={"at": at, "basis": "known"})).json()

    assert (happened["basis"], known["basis"]) == ("happened", "known")
    assert len(happened["members"]) == 2
    assert len(known["members"]) == 1  # the link came later
    assert known["value"] < happened["value"]


async def test_a_fact_from_the_future_is_flagged_and_counts_when_it_was_recorded(asked):
    why = (await asked.get(f"/customers/{customer(3)}/score/explanation")).json()

    clamped = [one for one in why["contributions"] if one["clamped"]]
    assert len(clamped) == 1
    assert clamped[0]["counted_at"] < clamped[0]["occurred_at"]


async def test_a_score_goes_through_time(asked):
    answer = await asked.get(
        f"{FIRST}/score/history",
        params={"from": (NOW - 31 * DAY).isoformat(), "to": NOW.isoformat(), "step": "P1D"},
    )

    points = answer.json()["points"]
    assert len(points) == 32
    assert points[0]["counted"] == 0
    assert points[-1]["counted"] == 7
    assert points[2]["value"] < points[1]["value"] * 1.0000001  # it fades without a fact


async def test_leaders_come_in_pages_and_in_order(asked):
    first = (await asked.get("/leaders?limit=1")).json()
    second = (await asked.get(f"/leaders?limit=1&cursor={first['next']}")).json()
    third = (await asked.get(f"/leaders?limit=1&cursor={second['next']}")).json()

    assert [page["items"][0]["customer_id"] for page in (first, second)] == [
        str(customer(3)),
        str(customer(1)),
    ]
    assert first["items"][0]["value"] > second["items"][0]["value"]
    assert second["items"][0]["members"] == 2
    assert third == {**third, "items": [], "next": None}
    score = (await asked.get(f"{FIRST}/score", params={"at": second["at"]})).json()
    shown = (await asked.get(f"{FIRST}/score")).json()
    assert second["items"][0]["value"] == pytest.approx(shown["value"], rel=1e-5)
    assert score["value"] == pytest.approx(second["items"][0]["value"], rel=1e-9)


async def test_models_are_told_as_data_with_their_reasons(asked):
    (model,) = (await asked.get("/models")).json()

    assert model["half_life_days"] == 30
    assert all(kind["why"] for kind in model["kinds"])


async def test_buying_is_exact_per_currency_and_summed_over_linked_ids(asked):
    first = (await asked.get(f"{FIRST}/buying", params={"at": NOW.isoformat()})).json()
    third = (await asked.get(f"/customers/{customer(3)}/buying")).json()

    (amounts,) = first["amounts"]
    assert amounts["currency"] == "USD"
    assert (amounts["frequency"], amounts["spent"]) == (2, "30.30")
    assert (amounts["refunds"], amounts["refunded"], amounts["money"]) == (1, "5.05", "25.25")
    assert amounts["recency_days"] == pytest.approx(20)
    assert [each["currency"] for each in third["amounts"]] == ["EUR", "USD"]


async def test_buying_of_all_comes_in_pages_by_original_id(asked):
    rows, cursor = [], ""
    for _ in range(10):
        page_of = (await asked.get(f"/buying?limit=2{cursor}")).json()
        rows += page_of["items"]
        if page_of["next"] is None:
            break
        cursor = f"&cursor={page_of['next']}"

    assert [(row["customer_id"], row["currency"], row["spent"]) for row in rows] == [
        (str(customer(1)), "USD", "10.10"),
        (str(customer(2)), "USD", "20.20"),
        (str(customer(3)), "EUR", "7.00"),
        (str(customer(3)), "USD", "0.30"),
    ]


async def test_a_read_waits_for_what_it_is_asked_to_show(analytics, asked, monkeypatch):
    await analytics.hear([heard(order(number=4), NOW, number=30)])
    position = await analytics.pool.fetchrow(
        "select epoch, xid::text, gp from log order by gp desc limit 1"
    )
    after = ".".join(map(str, position))

    with monkeypatch.context() as impatient:
        impatient.setattr("crm_chassis.http.reads.LONGEST_WAIT_S", 0.1)
        stale = await asked.get(f"{FIRST}/score?after={after}")
    await analytics.fold()
    fresh = await asked.get(f"/customers/{customer(4)}/score?after={after}")

    assert (stale.headers["Stale"], stale.headers["Stale-Reason"]) == ("true", "behind")
    assert "Stale" not in fresh.headers
    assert fresh.json()["counted"] == 1


async def test_freshness_names_each_read_model(asked):
    told = {each["name"]: each for each in (await asked.get("/freshness")).json()}

    assert told.keys() == {"links", "score.test", "buying"}
    assert {each["stopped"] for each in told.values()} == {None}


async def test_the_page_of_leaders_holds_no_data_and_links_to_the_customer_file(asked):
    answer = await asked.get("/leaders.html", headers={"Authorization": ""})

    assert answer.status_code == 200
    assert "http://contacts/customers/{customer_id}" in answer.text
    assert str(customer(1)) not in answer.text


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        (f"/customers/{customer(99)}/score", 404, "unknown-customer"),
        (f"/customers/{customer(99)}/score/explanation", 404, "unknown-customer"),
        (f"/customers/{customer(99)}/buying", 404, "unknown-customer"),
        ("/customers/nobody/score", 422, "invalid-input"),
        (f"{FIRST}/score?model=other", 404, "unknown-model"),
        (f"{FIRST}/score?at=yesterday", 422, "invalid-input"),
        (f"{FIRST}/score?at=2026-05-04T12:00:00", 422, "invalid-input"),
        (f"{FIRST}/score?at=0001-01-01T00:00:00Z", 422, "invalid-input"),
        (f"{FIRST}/score?basis=guessed", 422, "invalid-input"),
        (f"{FIRST}/score?limit=10001", 422, "invalid-input"),
        (f"{FIRST}/score/explanation?group_by=colour", 422, "invalid-input"),
        (f"{FIRST}/score/history?step=PT1S", 422, "invalid-input"),
        (f"{FIRST}/score/history?step=PT1M", 422, "invalid-input"),
        (f"{FIRST}/score/history?from=2030-01-01T00:00:00Z&to=2029-01-01T00:00:00Z", 422,
         "invalid-input"),
        (f"{FIRST}/score?after=1.2", 422, "invalid-input"),
        ("/leaders?cursor=bm9wZQ", 422, "invalid-input"),
        ("/leaders?limit=0", 422, "invalid-input"),
        ("/buying?cursor=WzEsMl0", 422, "invalid-input"),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_is_a_problem_with_a_name(asked, path, status, name):
    answer = await asked.get(path)

    assert answer.status_code == status
    assert answer.json()["type"].endswith(name)


@pytest.mark.parametrize("path", [f"{FIRST}/score", "/leaders", "/models", "/buying", "/freshness"])
async def test_nobody_reads_without_a_key(asked, path):
    answer = await asked.get(path, headers={"Authorization": "Bearer nothing"})

    assert answer.status_code == 401


async def test_a_step_of_the_smallest_size_is_taken(asked):
    answer = await asked.get(
        f"{FIRST}/score/history",
        params={"from": NOW.isoformat(), "to": (NOW + timedelta(minutes=3)).isoformat(),
                "step": "PT1M"},
    )  # fmt: skip

    assert len(answer.json()["points"]) == 4


async def test_an_instant_before_the_landmark_has_a_value(asked):
    answer = await asked.get(
        f"{FIRST}/score", params={"at": (LANDMARK - 3650 * DAY).isoformat(), "explain": True}
    )

    assert answer.status_code == 200
    assert answer.json()["value"] == 0


async def test_every_operation_behind_a_key_names_it_in_openapi(http):
    document = (await http.get("/openapi.json")).json()

    assert document["paths"].keys() > {"/livez", "/readyz", "/metrics"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in {"/livez", "/readyz", "/metrics"}:
                assert "security" not in operation
            else:
                assert operation["x-scope"] in {"scores:read", "buying:read"}
                assert "503" in operation["responses"]


async def test_an_api_is_not_ready_before_this_release_migrated(analytics, http):
    ready = await http.get("/readyz")
    revision = await analytics.pool.fetchval("delete from alembic_version returning version_num")
    try:
        before = await http.get("/readyz")
    finally:
        await analytics.pool.execute("insert into alembic_version values ($1)", revision)

    assert (ready.status_code, ready.json()["database"]) == (200, "ready")
    assert (before.status_code, before.json()["database"]) == (503, "not-migrated")
