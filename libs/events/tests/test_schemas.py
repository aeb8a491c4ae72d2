"""The committed JSON Schemas say what is written."""

from __future__ import annotations

import json

import pytest
from crm_events.base import Event
from crm_events.contacts import PersonRegistered
from crm_events.examples import load, released
from crm_events.personal import SEALED, Personal
from crm_events.schemas import FOLDER, committed_versions, main, schema, stale_files
from crm_events.topics import CONTRACT


class Told(Event, type="test.told", version=1):
    where: str
    text: Personal[str] = SEALED


def test_the_committed_schemas_are_those_of_the_classes(capsys):
    assert main(["--check"]) == 0, f"run `make generate`: {capsys.readouterr().out}"


def test_a_class_that_changed_makes_its_schema_stale(tmp_path):
    class ToldMore(Told, type="test.told", version=1):
        more: int = 0

    for path, text in stale_files([Told], tmp_path):
        path.parent.mkdir()
        path.write_text(text)

    assert list(stale_files([Told], tmp_path)) == []
    assert [path.name for path, _ in stale_files([ToldMore], tmp_path)] == ["v1.json"]


def test_a_class_that_became_the_older_one_has_the_schema_it_had():
    class Told1(Event, type="test.told", version=1):
        where: str
        text: Personal[str] = SEALED

    assert schema(Told1) == schema(Told)


def test_personal_fields_are_named_and_not_among_the_properties():
    body = schema(PersonRegistered)

    assert body["x-personal"] == {
        "/profile": {"type": "object", "additionalProperties": True},
        "/identifiers/*/value": {"type": "string"},
        "/identifiers/*/given": {"type": "string"},
    }
    assert body["properties"].keys() == {"customer_id", "identifiers", "sealed"}
    assert body["$defs"]["Identifier"]["properties"].keys() == {"namespace"}
    assert body["$id"] == "https://kith.invalid/schemas/contacts.person.registered/v1"


@pytest.mark.parametrize(("event_type", "version"), released())
def test_a_released_example_has_what_its_schema_requires_and_nothing_it_does_not_name(
    event_type, version
):
    body = json.loads((FOLDER / event_type / f"v{version}.json").read_text())
    data = json.loads(load(event_type, version).value)

    assert set(body["required"]) <= data.keys() <= body["properties"].keys()


def test_every_event_and_every_released_version_has_a_schema():
    committed = set(committed_versions(FOLDER))

    assert {name for name, _ in committed} == set(CONTRACT.classes)
    assert set(released()) <= committed
