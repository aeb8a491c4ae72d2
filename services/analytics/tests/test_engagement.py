"""Engagement on a real PostgreSQL: what is kept, published, ranked and explained."""

from __future__ import annotations

import asyncio
import json
import math
import random
from datetime import timedelta

import pytest
import structlog
from analytics.customers.links import read_links
from analytics.engagement.decay import log_net
from analytics.engagement.explanation import Basis, GroupBy, until
from analytics.engagement.model import ModelError, read_model
from analytics.engagement.registered import register_models
from analytics.scores.answers import as_of, current, explanation_of, through_time
from analytics.scores.history import read_history, read_score
from analytics.scores.moved import score_stream
from crm_events.topics import CONTRACT
from crm_store.log import epochs
from heard import (
    DAY,
    HOUR,
    LANDMARK,
    MODEL,
    customer,
    heard,
    linked,
    order,
    page,
    refund,
    tracked,
    unlinked,
)

NOW = LANDMARK + 60 * DAY


def random_history(seed, *, people=6, facts=120):
    """Facts of some people who are linked and unlinked, late ones and ones from the future."""
    dice = random.Random(seed)  # noqa: S311  # no secret
    events, joined = [], {}
    for n in range(facts):
        number = dice.randint(1, people)
        at = LANDMARK + dice.random() * 50 * DAY
        delay = dice.choice([timedelta(0), timedelta(0), 3 * DAY, -2 * HOUR])
        match dice.randint(0, 9):
            case 0 if number > 1 and number not in joined:
                joined[number] = dice.randint(1, number - 1)
                event = linked(number, joined[number])
            case 1 if number in joined:
                event = unlinked(number, joined.pop(number))
            case 2 | 3:
                event = order(number=number)
            case 4:
                event = refund(number=number)
            case 5:
                event = tracked("Signed Up", number)
            case _:
                event = page(number)
        # Half of the pages fall on one of two days, so that caps bind.
        if event.type == page().type and dice.random() < 0.5:
            at = LANDMARK + dice.choice([10, 11]) * DAY + dice.random() * 20 * HOUR
        events.append(heard(event, at, number=n, recorded_at=at + delay))
    return events


async def rows_of(pool):
    """Everything the read models keep, sums rounded to what order may change."""
    sums = {
        row["customer_id"]: (
            None if row["s"] is None else round(row["s"], 9),
            None if row["s_negative"] is None else round(row["s_negative"], 9),
            row["counted"],
            row["clamped"],
            row["last_fact_at"],
        )
        for row in await pool.fetch("select * from engagement")
    }
    days = {tuple(row) for row in await pool.fetch(
        "select customer_id, kind, day, entries from engagement_day")}  # fmt: skip
    bought = {tuple(row) for row in await pool.fetch("select * from buying")}
    linked_ids = {tuple(row) for row in await pool.fetch(
        "select customer_id, into_id, linked from link")}  # fmt: skip
    return sums, days, bought, linked_ids


async def test_topics_shuffled_against_each_other_give_the_same_rows(analytics):
    history = random_history(1)
    people = [each for each in history if "person" in each.type]
    rest = [each for each in history if "person" not in each.type]
    await analytics.hear(history)
    await analytics.fold()
    expected = await rows_of(analytics.pool)

    for seed in range(3):
        dice = random.Random(seed)  # noqa: S311  # no secret
        mixed = dice.sample(rest, len(rest))
        for _ in people:  # in their own order, anywhere among the others
            mixed.insert(dice.randint(0, len(mixed)), None)
        links = iter(people)
        await analytics.forget()
        await analytics.hear([next(links) if each is None else each for each in mixed])
        await analytics.fold()

        assert await rows_of(analytics.pool) == expected


@pytest.mark.parametrize("seed", range(4))
async def test_contributions_add_up_to_the_score_shown(analytics, seed):
    await analytics.hear(random_history(seed))
    await analytics.fold()

    for number in range(1, 7):
        history = await read_history(analytics.pool, analytics.model, customer(number))
        if history is None:
            continue
        score = current(history.score, analytics.model, NOW)
        why = explanation_of(
            history, analytics.model, NOW, basis=None, limit=10_000, group_by=GroupBy.MONTH
        )
        assert score.positive == pytest.approx(why.positive, rel=1e-9)
        assert score.negative == pytest.approx(why.negative, rel=1e-9)
        assert score.counted == sum(one.status == "counts" for one in why.contributions)
        assert math.fsum(one.value for one in why.contributions) == pytest.approx(why.value)
        assert math.fsum(part.value for part in why.groups) == pytest.approx(why.value)
        values = [abs(one.value) for one in why.contributions]
        assert values == sorted(values, reverse=True)


async def test_rows_behind_the_checkpoint_explain_nothing(analytics):
    await analytics.hear([heard(order(), LANDMARK, number=1)])
    await analytics.fold()
    await analytics.hear([heard(order(), LANDMARK, number=2)])

    history = await read_history(analytics.pool, analytics.model, customer(1))

    why = explanation_of(history, analytics.model, NOW, basis=None, limit=10, group_by=None)
    assert why.facts == 1
    assert why.difference == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("basis", list(Basis))
async def test_a_past_score_is_the_fold_of_what_there_was(analytics, basis):
    events = random_history(7, people=1)
    at = LANDMARK + 25 * DAY
    await analytics.hear(events)
    await analytics.fold()
    history = await read_history(analytics.pool, analytics.model, customer(1))

    past = as_of(history, analytics.model, at, basis=basis)

    await analytics.forget()
    await analytics.hear(until(events, at, basis))
    await analytics.fold()
    then = current(
        await read_score(analytics.pool, analytics.model, customer(1)), analytics.model, at
    )
    assert past.value == pytest.approx(then.value, rel=1e-12)
    assert (past.counted, past.clamped) == (then.counted, then.clamped)


async def test_a_course_goes_through_the_scores_of_its_instants(analytics):
    await analytics.hear(random_history(3))
    await analytics.fold()
    history = await read_history(analytics.pool, analytics.model, customer(1))
    instants = [LANDMARK + n * DAY for n in range(0, 60, 7)]

    for basis in Basis:
        points = through_time(history, analytics.model, instants, basis=basis).points

        for at, point in zip(instants, points, strict=True):
            expected = as_of(history, analytics.model, at, basis=basis)
            assert point.value == pytest.approx(expected.value, rel=1e-12, abs=1e-12)
            assert point.counted == expected.counted


async def test_a_link_joins_scores_and_an_unlink_parts_them(analytics):
    await analytics.hear(
        [heard(order(number=1), LANDMARK, number=1), heard(order(number=2), LANDMARK, number=2)]
    )
    await analytics.fold()
    await analytics.publish()

    await analytics.hear([heard(linked(2, 1), LANDMARK, number=3)])
    await analytics.fold()
    await analytics.two_seconds_pass()
    await analytics.publish()
    together = await read_score(analytics.pool, analytics.model, customer(2))
    joined = await analytics.pool.fetch("select customer_id, s_net, members from standing")

    await analytics.hear([heard(unlinked(2, 1), LANDMARK, number=4)])
    await analytics.fold()
    await analytics.two_seconds_pass()
    await analytics.publish()
    alone = await read_score(analytics.pool, analytics.model, customer(2))
    parted = await analytics.pool.fetch("select customer_id, s_net, members from standing")

    assert math.exp(together.sums.s) == pytest.approx(40)
    assert together.group().root == customer(1)
    assert [tuple(row) for row in joined] == [(customer(1), pytest.approx(math.log(40)), 2)]
    assert math.exp(alone.sums.s) == pytest.approx(20)
    assert sorted(map(tuple, parted)) == [
        (customer(1), pytest.approx(math.log(20)), 1),
        (customer(2), pytest.approx(math.log(20)), 1),
    ]


async def test_linking_into_a_customer_without_facts_ranks_the_group_under_it(analytics):
    await analytics.hear(
        [heard(order(number=2), LANDMARK, number=1), heard(linked(2, 1), LANDMARK, number=2)]
    )
    await analytics.fold()

    await analytics.publish()

    standing = await analytics.pool.fetch("select customer_id, members from standing")
    assert [tuple(row) for row in standing] == [(customer(1), 2)]
    published = await analytics.pool.fetch("select partition_key from log where sequence is null")
    assert [row["partition_key"] for row in published] == [customer(2)]


async def test_a_score_is_published_at_most_once_in_two_seconds(analytics):
    async def count():
        return await analytics.pool.fetchval("select count(*) from log where sequence is null")

    await analytics.hear([heard(order(), LANDMARK, number=1)])
    await analytics.fold()
    await analytics.publish()
    at_first = await count()
    await analytics.time_passes(-HOUR)  # however long this takes, it is within 2 s
    for number in (2, 3):
        await analytics.hear([heard(order(), LANDMARK, number=number)])
        await analytics.fold()
        await analytics.publish()
    within = await count()

    await analytics.time_passes(HOUR)
    await analytics.two_seconds_pass()
    await analytics.publish()

    assert (at_first, within, await count()) == (1, 1, 2)
    events = await analytics.log.load(score_stream(analytics.model, customer(1)), opens=False)
    assert [each.event.counted for each in events] == [1, 3]
    assert [each.stream_version for each in events] == [1, 2]
    assert math.exp(events[-1].event.s) == pytest.approx(60)


async def test_what_a_fold_changes_while_a_score_is_published_is_published_later(analytics):
    await analytics.hear([heard(order(), LANDMARK, number=1)])
    await analytics.fold()
    await analytics.hear([heard(order(), LANDMARK, number=2)])
    append = analytics.log.append

    async def slow(**what):
        await analytics.fold()  # after the marks were read, before they are cleared
        return await append(**what)

    analytics.log.append = slow
    await analytics.moved.turn(analytics.model)
    analytics.log.append = append
    await analytics.two_seconds_pass()
    await analytics.publish()

    events = await analytics.log.load(score_stream(analytics.model, customer(1)), opens=False)
    assert [each.event.counted for each in events] == [1, 2]
    assert await analytics.pool.fetchval("select count(due_at) from engagement") == 0


async def test_two_processes_publish_a_score_once(analytics):
    await analytics.hear([heard(order(), LANDMARK, number=1)])
    await analytics.fold()
    append = analytics.log.append

    async def overtaken(**what):
        analytics.log.append = append
        await analytics.moved.turn(analytics.model)
        return await append(**what)

    analytics.log.append = overtaken
    with pytest.raises(Exception, match="moved"):
        await analytics.moved.turn(analytics.model)

    assert await analytics.pool.fetchval("select count(*) from log where sequence is null") == 1


async def test_folding_and_publishing_at_once_leave_standings_and_events_as_the_sums(analytics):
    events = random_history(11, people=30, facts=600)

    async def fold():
        for start in range(0, len(events), 20):
            await analytics.hear(events[start : start + 20])
            await analytics.fold()

    async def publish():
        while not folding.done():
            await analytics.two_seconds_pass()
            await analytics.moved.turn(analytics.model)

    folding = asyncio.ensure_future(fold())
    await asyncio.gather(folding, publish())
    await analytics.two_seconds_pass()
    await analytics.publish()

    for row in await analytics.pool.fetch("select * from engagement where counted > 0"):
        stream = score_stream(analytics.model, row["customer_id"])
        told = (await analytics.log.load(stream, opens=False))[-1].event
        assert (told.s, told.s_negative, told.counted) == (
            row["s"],
            row["s_negative"],
            row["counted"],
        )
    for row in await analytics.pool.fetch("select * from standing"):
        score = await read_score(analytics.pool, analytics.model, row["customer_id"])
        assert row["s_net"] == pytest.approx(log_net(score.sums.s, score.sums.s_negative))
        assert row["members"] == len(score.group().members)


async def test_scores_are_published_only_while_the_lease_is_held(analytics):
    await analytics.hear([heard(order(), LANDMARK, number=1)])
    await analytics.fold()
    stop, beaten, turned = asyncio.Event(), asyncio.Event(), asyncio.Event()
    turn = analytics.moved.turn

    async def noted(model):
        turned.set()
        return await turn(model)

    analytics.moved.turn = noted
    running = asyncio.create_task(analytics.moved.run(stop, beat=beaten.set))
    await beaten.wait()
    before = turned.is_set()
    holding = asyncio.create_task(analytics.moved._lease.run(stop, beat=beaten.set))

    await asyncio.wait_for(turned.wait(), 60)
    stop.set()
    await asyncio.gather(running, holding)

    assert not before
    assert await analytics.pool.fetchval("select count(*) from log where sequence is null") == 1


async def test_what_is_owed_is_published_after_the_log_began_an_epoch(analytics):
    await analytics.hear([heard(order(), LANDMARK, number=1)])
    await analytics.fold()
    await analytics.moved._log.epoch()  # as any process that has published
    assert await epochs.begin(analytics.pool, await epochs.newest(analytics.pool))
    stop = asyncio.Event()

    running = asyncio.gather(
        analytics.moved.run(stop, beat=lambda: None),
        analytics.moved._lease.run(stop, beat=lambda: None),
    )
    async with asyncio.timeout(60):
        while not await analytics.pool.fetchval("select count(*) from log where sequence is null"):
            assert not running.done(), running.exception()
            await asyncio.sleep(0.02)
    stop.set()
    await running


async def test_leaders_stand_in_the_order_of_their_values(analytics):
    await analytics.hear(random_history(5, people=20, facts=200))
    await analytics.fold()

    await analytics.publish()

    rows = await analytics.pool.fetch("select customer_id from standing order by s_net desc")
    values = []
    for row in rows:
        score = await read_score(analytics.pool, analytics.model, row["customer_id"])
        assert score.group().root == row["customer_id"]
        values.append(current(score, analytics.model, NOW).value)
    assert len(values) > 3
    assert values == sorted(values, reverse=True)
    assert min(values) > 0
    ranked = {row["customer_id"] for row in rows}
    everyone = [
        await read_score(analytics.pool, analytics.model, customer(n)) for n in range(1, 21)
    ]
    assert ranked == {
        score.group().root
        for score in everyone
        if score is not None and current(score, analytics.model, NOW).value > 0
    }


async def test_a_model_changed_without_a_new_version_is_refused(analytics):
    text = MODEL.replace('"weight": 20', '"weight": 21')

    await register_models(analytics.pool, [analytics.model])
    with pytest.raises(ModelError, match="new version"):
        await register_models(analytics.pool, [read_model(text, CONTRACT)])

    definition = await analytics.pool.fetchval("select definition::text from scoring_model")
    assert json.loads(definition) == json.loads(analytics.model.definition)


async def test_links_are_followed_over_any_number_of_steps(analytics):
    await analytics.hear([heard(linked(n + 1, n), LANDMARK, number=n) for n in range(1, 40)])
    await analytics.fold()

    links = await read_links(analytics.pool, [customer(20)])

    assert len(links) == 39


LINK_MANY = """
insert into link (customer_id, into_id, linked, periods)
select ('c1000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, true,
       '[["2025-01-01T00:00:00+00:00", null]]'
from generate_series(1, $2::int) n
"""


async def test_a_score_and_its_rank_are_of_all_1201_members(analytics, http):
    await analytics.hear(
        [
            event
            for n in range(2, 1_203)
            for event in (
                heard(order(number=n), LANDMARK, number=n),
                heard(linked(n, 1), LANDMARK, number=10_000 + n),
            )
        ]
    )
    await analytics.fold()

    await analytics.publish()

    [leader] = (await http.get("/leaders")).json()["items"]
    score = (await http.get(f"/customers/{customer(1)}/score")).json()
    buying = (await http.get(f"/customers/{customer(700)}/buying")).json()
    assert leader["members"] == len(score["members"]) == len(buying["members"]) == 1_202
    assert score["counted"] == buying["amounts"][0]["frequency"] == 1_201
    assert leader["s_net"] == pytest.approx(score["s"])


async def test_a_group_too_large_is_refused_and_stands_nowhere(analytics, http):
    await analytics.hear([heard(order(), LANDMARK), heard(order(number=2), LANDMARK, number=2)])
    await analytics.fold()
    await analytics.publish()
    await analytics.pool.execute(LINK_MANY, customer(1), 10_000)
    await analytics.hear([heard(order(number=n), LANDMARK, number=9 + n) for n in (1, 2)])
    await analytics.fold()
    await analytics.two_seconds_pass()

    with structlog.testing.capture_logs() as lines:
        await analytics.publish()

    leaders = (await http.get("/leaders")).json()["items"]
    assert [one["customer_id"] for one in leaders] == [str(customer(2))]
    assert [one["log_level"] for one in lines if one["event"] == "moved.group_too_large"] == [
        "error"
    ]
    for asked in ("score", "score?explain=true", "score/history", "buying"):
        answer = await http.get(f"/customers/{customer(1)}/{asked}")
        assert (answer.status_code, answer.json()["type"]) == (
            422,
            "urn:kith:problem:group-too-large",
        )


async def test_a_group_of_the_largest_size_is_ranked(analytics, http):
    await analytics.hear([heard(order(), LANDMARK)])
    await analytics.fold()
    await analytics.pool.execute(LINK_MANY, customer(1), 9_999)

    await analytics.publish()

    [leader] = (await http.get("/leaders")).json()["items"]
    assert leader["members"] == 10_000


async def test_links_taken_back_do_not_make_a_group_too_large(analytics, http):
    await analytics.hear([heard(order(), LANDMARK)])
    await analytics.fold()
    await analytics.pool.execute(LINK_MANY, customer(1), 10_000)
    await analytics.pool.execute("update link set linked = false")

    score = await http.get(f"/customers/{customer(1)}/score")

    assert score.json()["members"] == [str(customer(1))]


async def test_a_customer_never_heard_of_has_no_score(analytics):
    assert await read_score(analytics.pool, analytics.model, customer(1)) is None
    assert await read_history(analytics.pool, analytics.model, customer(1)) is None


async def test_a_change_is_owed_from_its_fold_until_it_is_ranked(analytics, http):
    async def owed():
        return (await http.get("/leaders")).json()["owed_seconds"]

    await analytics.hear([heard(order(), LANDMARK)])
    await analytics.fold()
    await analytics.publish()
    assert await owed() == 0

    await analytics.time_passes(-HOUR)  # however long this takes, it is within 2 s
    await analytics.hear([heard(order(), LANDMARK, number=2)])
    await analytics.fold()
    assert await analytics.publish() == 0, "it falls due only later"
    assert 0 < await owed() <= 2

    await analytics.time_passes(HOUR)
    await analytics.two_seconds_pass()
    assert await owed() >= 2
    await analytics.publish()
    assert await owed() == 0
