"""Pipelines as data: those that come with the package, and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from sales.deals.pipelines import Condition, PipelinesError, load_pipelines, read_pipelines
from told import PIPELINES, PIPELINES_TEXT


def changed(**fields):
    data = json.loads(PIPELINES_TEXT)
    data["pipelines"][0].update(fields)
    return json.dumps(data)


def with_stage(**fields):
    data = json.loads(PIPELINES_TEXT)
    data["pipelines"][0]["stages"][0].update(fields)
    return json.dumps(data)


BAD_DURATIONS = (
    "", "P", "PT", "PT0S", "P0D", "P1M", "P1Y", "P14", "14 days", "-P1D", "P4000D", "PT٢S", 14,
)  # fmt: skip
STAGE = {"name": "x", "probability": 1}


def test_the_default_pipeline_asks_for_more_the_nearer_it_comes():
    [pipeline] = load_pipelines(None).pipelines

    probabilities = [stage.probability for stage in pipeline.stages]
    assert probabilities == sorted(set(probabilities))
    required = [set(stage.requires) for stage in pipeline.stages]
    assert all(one <= other for one, other in pairwise(required))
    assert pipeline.stages[0].requires == ()
    assert "other" in pipeline.loss_reasons


def test_pipelines_may_come_from_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(PIPELINES_TEXT)

    assert load_pipelines(path) == PIPELINES


def test_a_missing_file_is_told_by_its_path(tmp_path):
    with pytest.raises(PipelinesError, match=r"mine\.json"):
        load_pipelines(tmp_path / "mine.json")


def test_a_stage_is_found_by_its_name_and_its_pipelines():
    offer = PIPELINES.stage("short", "offer")

    assert offer is not None
    assert (offer.probability, offer.requires) == (
        Decimal("0.5"),
        (Condition.AMOUNT, Condition.EXPECTED_CLOSE),
    )
    assert PIPELINES.stage("renewal", "offer") is None
    assert PIPELINES.stage("long", "offer") is None


@pytest.mark.parametrize(
    ("told", "stays"),
    [
        ("P14D", timedelta(days=14)),
        ("P2W", timedelta(days=14)),
        ("P1DT12H", timedelta(hours=36)),
        ("PT2S", timedelta(seconds=2)),
    ],
)
def test_how_long_a_deal_may_stand_in_a_stage_is_a_duration(told, stays):
    pipelines = read_pipelines(with_stage(rots_after=told))

    assert pipelines.pipelines[0].stages[0].rots_after == stays


def test_what_timers_follow_from_changes_with_how_long_deals_may_stand_and_with_nothing_else():
    same, other = with_stage(probability=0.2), with_stage(rots_after="P11D")

    assert read_pipelines(same).durations == PIPELINES.durations
    assert read_pipelines(other).durations != PIPELINES.durations


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ("[]", "pipelines"),
        ('{"pipelines": []}', "at least 1"),
        (json.dumps({"pipelines": [json.loads(PIPELINES_TEXT)["pipelines"][0]] * 2}), "twice"),
        (json.dumps({"pipelines": [json.loads(PIPELINES_TEXT)["pipelines"][0]] * 51}), "at most"),
        (changed(stages=[]), "stages"),
        (changed(stages=[{**STAGE, "name": f"s{n}"} for n in range(51)]), "at most 50"),
        (changed(stages=[STAGE, STAGE]), "stage x stands there twice"),
        (changed(loss_reasons=[]), "loss_reasons"),
        (changed(loss_reasons=["price", "price"]), "loss reason price stands there twice"),
        (changed(name="Short"), "name"),
        (changed(versoin=2), "versoin"),
        (with_stage(name=""), "name"),
        (with_stage(probability=1.1), "probability"),
        (with_stage(probability=-0.1), "probability"),
        (with_stage(probability="NaN"), "probability"),
        (with_stage(probability=None), "probability"),
        (with_stage(requires=["budget"]), "requires"),
        (with_stage(requires=["amount", "amount"]), "requires amount stands there twice"),
        *((with_stage(rots_after=one), "rots_after") for one in BAD_DURATIONS),
    ],
)
def test_pipelines_that_cannot_be_used_are_refused_with_what_is_wrong(text, said):
    with pytest.raises(PipelinesError, match=said):
        read_pipelines(text)
