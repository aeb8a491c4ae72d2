"""The contract as analytics reads it: released examples, and what it publishes itself."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from analytics.buying.buying import buying
from analytics.customers.groups import fold_links, link_key
from analytics.customers.links import links
from analytics.engagement.decay import Decay
from analytics.engagement.engagement import engagement
from analytics.engagement.explanation import Basis, course, explain, until
from analytics.engagement.model import load_model
from analytics.engagement.sums import Sums, together
from analytics.engagement.weighing import scale
from analytics.scores.moved import Due, score_moved
from crm_events.analytics import ScoreMoved
from crm_events.errors import UnknownVersionError
from crm_events.examples import SUBJECT, load, released
from crm_events.sales import DealWon
from crm_events.topics import CONTRACT, HEARD_BY
from heard import DAY, LANDMARK, customer, logged

model = load_model(None, CONTRACT)
EXAMPLES = {each: logged(load(*each).recorded()) for each in released()}
HEARD = [each for each in EXAMPLES if CONTRACT.by_type[each[0]] in HEARD_BY["analytics"]]


@pytest.mark.parametrize("released_type", [e for e in HEARD if e[0] in model.types], ids=str)
def test_the_default_model_weighs_every_example_of_its_types(released_type):
    example = EXAMPLES[released_type]

    weighed = scale(model)(example)

    assert weighed is not None
    rule, _, log_weight, _ = weighed
    assert rule.kind.type == released_type[0]
    assert example.partition_key == UUID(SUBJECT)
    assert math.isfinite(log_weight)


@pytest.mark.parametrize("released_type", [e for e in HEARD if e[0] in model.types], ids=str)
def test_an_event_of_an_unknown_version_is_scored_by_nobody(released_type):
    later = replace(load(*released_type).recorded(), schema_version=99)

    with pytest.raises(UnknownVersionError, match="99"):
        scale(model)(logged(later))


def test_a_deal_that_was_won_counts_and_says_why():
    """With everything else that has an example: the parts are the score, also before the deal."""
    [won] = [EXAMPLES[each] for each in HEARD if each[0] == DealWon.type]
    facts = [EXAMPLES[each] for each in HEARD]
    when = won.occurred_at

    for at in (when - DAY, when, when + 40 * DAY):
        for basis in Basis:
            known = until(facts, at, basis)
            sums = next(iter(course(facts, model, instants=[at], basis=basis)))
            explained = explain(known, model, at=at)
            decay, score = model.decay, together(sums.values())
            value = decay.value(score.s, at) - decay.value(score.s_negative, at)
            assert explained.value == pytest.approx(value, rel=1e-9)
            lines = [one for one in explained.contributions if one.kind.name == "deal-won"]
            assert len(lines) == (at >= when if basis is Basis.HAPPENED else at >= won.recorded_at)
            assert all((one.weight, one.counts) == (40, True) for one in lines)
    assert scale(model)(won)[0].kind.why.startswith("Whoever signs a contract")


def test_every_type_analytics_names_has_an_example():
    named = {*model.types, *buying.types, *links([1]).types, *engagement(model).types}

    assert named <= {released_type for released_type, _ in HEARD}


def test_buying_folds_the_examples_of_orders_and_refunds():
    orders = [EXAMPLES[each] for each in HEARD if each[0] in buying.types]
    rows = {}

    buying.fold_into(rows, orders)

    (((customer_id, currency), row),) = rows.items()
    assert (customer_id, currency) == (UUID(SUBJECT), "EUR")
    assert (row.orders, row.refunds) == (1, 1)
    assert row.spent == Decimal("59.80")


def test_links_fold_the_examples_of_linking_and_unlinking():
    people = [EXAMPLES[each] for each in HEARD if each[0] in links([1]).types]

    changed = fold_links({}, people[:1])

    assert [link.linked for link in changed.values()] == [True]
    assert {link_key(each)[0] for each in people} == {UUID(SUBJECT)}


def test_a_reader_gets_the_value_back_from_what_is_published():
    sums = Sums(s=math.log(40), s_negative=math.log(15), counted=3, last_fact_at=LANDMARK)

    event = score_moved(model, Due(customer(1), sums, changes=1, unpublished=True))

    assert event is not None
    told = ScoreMoved.model_validate_json(event.model_dump_json())
    decay = Decay(told.landmark, told.half_life_seconds)
    at = LANDMARK + 30 * DAY
    assert decay.value(told.s, at) - decay.value(told.s_negative, at) == pytest.approx(12.5)


def test_a_customer_without_facts_is_not_published():
    assert score_moved(model, Due(customer(1), Sums(), changes=1, unpublished=True)) is None
