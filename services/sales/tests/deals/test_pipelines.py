"""Pipelines as data: those that come with the package, and what is refused."""

from __future__ import annotations

import json
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
        (with_stage(rotting_days=0), "rotting_days"),
        (with_stage(rotting_days=4000), "rotting_days"),
    ],
)
def test_pipelines_that_cannot_be_used_are_refused_with_what_is_wrong(text, said):
    with pytest.raises(PipelinesError, match=said):
        read_pipelines(text)
