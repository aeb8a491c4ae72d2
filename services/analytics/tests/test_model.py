"""Scoring models as data: the one that comes with the package, and what is refused."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from analytics.engagement.model import ModelError, load_model, read_model
from crm_events.topics import CONTRACT
from heard import MODEL


def changed(**fields):
    return json.dumps({**json.loads(MODEL), **fields})


def with_kind(**fields):
    data = json.loads(MODEL)
    data["kinds"][0].update(fields)
    return json.dumps(data)


def test_the_default_model_says_why_for_every_kind():
    model = load_model(None, CONTRACT)

    assert (model.name, model.version) == ("engagement", 2)
    assert all(kind.why for kind in model.kinds)
    assert {"contacts.purchase.completed", "contacts.purchase.refunded"} <= set(model.types)


def test_a_model_may_come_from_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(MODEL)

    assert load_model(path, CONTRACT).name == "test"


def test_a_missing_file_is_told_by_its_path(tmp_path):
    with pytest.raises(ModelError, match=r"mine\.json"):
        load_model(tmp_path / "mine.json", CONTRACT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ("[]", "model"),
        (changed(half_life_days=0.5), "half_life_days"),
        (changed(half_life_days="NaN"), "half_life_days"),
        (changed(landmark="2025-01-01T00:00:00"), "landmark"),
        (changed(kinds=[]), "kinds"),
        (changed(versoin=2), "versoin"),
        (changed(name="Engagement"), "name"),
        (with_kind(weight=0), "weight"),
        (with_kind(weight=-1), "weight"),
        (with_kind(why=""), "why"),
        (with_kind(why="because"), "full stop"),
        (with_kind(sign="neutral"), "sign"),
        (with_kind(cap_per_day=0), "cap_per_day"),
        (with_kind(cap_per_day=101), "cap_per_day"),
        (with_kind(name="refund"), "two kinds"),
        (with_kind(type="contacts.purchase.refunded"), "never reached"),
        (with_kind(type="contacts.purchase.lost"), "no event contacts.purchase.lost"),
        (with_kind(type="contacts.person.linked", per_log_amount=1), "no amount"),
        (with_kind(when={"field": "colour", "one_of": ["red"]}), "no field colour"),
        (with_kind(when={"field": "properties", "one_of": ["red"]}), "personal"),
        (with_kind(when={"field": "total", "one_of": ["red"]}), "no text"),
        (with_kind(when={"field": "order_id", "one_of": []}), "one_of"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_what_is_wrong(text, said):
    with pytest.raises(ModelError, match=said):
        read_model(text, CONTRACT)


def test_the_same_model_has_the_same_hash_however_it_is_written():
    spread = json.dumps(json.loads(MODEL), indent=4)

    assert read_model(spread, CONTRACT).sha256 == read_model(MODEL, CONTRACT).sha256


def test_a_model_of_before_there_were_bands_is_the_one_it_was():
    released = resources.files("analytics.engagement.models") / "engagement.v1.json"

    model = read_model(released.read_text(), CONTRACT)

    assert model.sha256 == "ed28ea19e41ca9e53dda5791b18f934621ede2e9234ed7014fe6aa133ec1dcc9"


def test_another_weight_has_another_hash_and_the_same_id():
    one, other = read_model(MODEL, CONTRACT), read_model(with_kind(weight=21), CONTRACT)

    assert one.sha256 != other.sha256
    assert one.model_id == other.model_id


def test_another_version_has_another_id():
    one, other = read_model(MODEL, CONTRACT), read_model(changed(version=2), CONTRACT)

    assert one.model_id != other.model_id
