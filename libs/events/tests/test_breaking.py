"""Each rule of the gate shown red once, on made-up events; and what passes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from crm_events import schemas
from crm_events.base import Event, Value
from crm_events.breaking import Difference, Side, differences
from crm_events.personal import SEALED, Personal
from crm_events.schemas import broken_files, schema, stale_files
from crm_events.topics import Contract, Topic
from pydantic import Field

FORMER, STORED, BOTH = (Side.FORMER,), (Side.STORED,), (Side.FORMER, Side.STORED)


class Small(StrEnum):
    A = "a"
    B = "b"


class Large(StrEnum):
    A = "a"
    B = "b"
    C = "c"


class Place(Value):
    city: str


class Street(Value):
    city: str
    street: str


class Known(Value):
    city: Personal[str] = SEALED


@dataclass(frozen=True)
class Tree:
    name: str
    below: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Bush:
    name: int
    below: tuple[Bush, ...] = ()


def event(*, version: int = 1, **fields: Any) -> type[Event]:
    """A class with these fields; one that is a pair has a default."""
    annotations = {n: f[0] if isinstance(f, tuple) else f for n, f in fields.items()}
    defaults = {n: f[1] for n, f in fields.items() if isinstance(f, tuple)}
    body = {"__annotations__": annotations, "__module__": __name__, **defaults}
    return type("Told", (Event,), body, type="test.told", version=version)


def changed(before: Any, after: Any) -> tuple[Difference, ...]:
    """What breaks when the fields of an event change; a type alone is that of `field`."""
    old, new = (one if isinstance(one, dict) else {"field": one} for one in (before, after))
    return differences(schema(event(**old)), schema(event(**new)))


@pytest.mark.parametrize(
    ("before", "after", "breaks", "what"),
    [
        # fields
        ({"field": str, "a": int}, {"a": int}, BOTH, "is gone"),
        ({"field": (str, "x"), "a": int}, {"a": int}, BOTH, "is gone"),
        ({"a": int}, {"a": int, "field": str}, STORED, "is new and required"),
        ({"field": (str, "x")}, {"field": str}, STORED, "is required now"),
        ({"field": str}, {"field": (str, "x")}, FORMER, "may be missing now"),
        ({"field": (int, 1)}, {"field": (int, 2)}, STORED, "reads 2 where it is missing, not 1"),
        # types
        (str, int, BOTH, "was string, is integer"),
        (int, float, FORMER, "was integer, is number"),
        (float, int, STORED, "was number, is integer"),
        (int, Any, FORMER, "was integer, is anything"),
        (Any, int, STORED, "was anything, is integer"),
        (str, str | None, FORMER, "may be null now"),
        (str | None, str, STORED, "is never null now"),
        (str | int, str, STORED, "has lost one of its forms"),
        (str, str | int, FORMER, "has one more form"),
        # values
        (Large, Small, STORED, 'is never "c" now'),
        (Small, Large, FORMER, 'may be "c" now'),
        (str, Small, STORED, 'is one of "a", "b" now'),
        (Small, str, FORMER, 'may be other than "a", "b" now'),
        (Literal[1], Literal[1, 2], FORMER, "may be 2 now"),
        (str, Annotated[str, Field(max_length=9)], STORED, "had maxLength null, has 9"),
        (Annotated[str, Field(max_length=9)], str, FORMER, "had maxLength 9, has null"),
        (Annotated[int, Field(ge=1)], Annotated[int, Field(ge=2)], STORED, "had minimum 1, has 2"),
        (Annotated[int, Field(ge=2)], Annotated[int, Field(ge=1)], FORMER, "had minimum 2, has 1"),
        (str, Annotated[str, Field(pattern="^a")], STORED, 'has the pattern "^a" now'),
        (Annotated[str, Field(pattern="^a")], str, FORMER, "has no pattern any more"),
        (
            Annotated[str, Field(pattern="^a")],
            Annotated[str, Field(pattern="^b")],
            BOTH,
            'had the pattern "^a", has "^b"',
        ),
        # personal and plain
        (Personal[str], str, BOTH, "was personal, lies in the clear now"),
        (str, Personal[str], BOTH, "lay in the clear, is personal now"),
        ({"field": Personal[str], "a": int}, {"a": int}, BOTH, "is gone"),
        (Personal[str], Personal[int], BOTH, "was string, is integer"),
        (Personal[str], Personal[str | None], FORMER, "may be null now"),
    ],
)
def test_a_change_that_breaks_somebody_is_named_with_whom_it_breaks(before, after, breaks, what):
    assert changed(before, after) == (Difference("/field", what, breaks),)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Place, Street, Difference("/field/street", "is new and required", STORED)),
        (tuple[Street, ...], tuple[Place, ...], Difference("/field/*/street", "is gone", BOTH)),
        (
            Place | None,
            Known | None,
            Difference("/field/city", "lay in the clear, is personal now", BOTH),
        ),
        (
            list[Known],
            list[Place],
            Difference("/field/*/city", "was personal, lies in the clear now", BOTH),
        ),
        (dict[str, str], dict[str, int], Difference("/field/*", "was string, is integer", BOTH)),
        (dict[str, Any], dict[str, int], Difference("/field/*", "holds less than it did", STORED)),
        (dict[str, int], dict[str, Any], Difference("/field/*", "holds more than it did", FORMER)),
        (Personal[Street], Personal[Place], Difference("/field/street", "is gone", BOTH)),
        (Tree, Bush, Difference("/field/name", "was string, is integer", BOTH)),
        (
            tuple[str, Place],
            tuple[str, Street],
            Difference("/field", "had the prefixItems", BOTH),
        ),
        (Place | Tree, Place | Bush, Difference("/field", "has lost one of its forms", STORED)),
    ],
)
def test_what_breaks_inside_a_part_is_found_there(before, after, expected):
    first, *_ = changed(before, after)

    assert (first.place, first.breaks) == (expected.place, expected.breaks)
    assert first.what.startswith(expected.what)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": int}, {"a": int, "field": (str, "x")}),
        ({"a": int}, {"a": int, "field": (str | None, None)}),
        ({"a": int}, {"a": int, "field": (Personal[str], SEALED)}),
        (
            {"a": (Personal[int], SEALED)},
            {"a": (Personal[int], SEALED), "field": (Place | None, None)},
        ),
        ({"field": Annotated[int, Field(description="of one")]}, {"field": int}),
        ({"field": Tree}, {"field": Tree}),
        ({"field": Place | Tree | None}, {"field": Tree | Place | None}),
    ],
)
def test_what_an_older_reader_ignores_and_what_is_stored_need_not_have_passes(before, after):
    assert changed(before, after) == ()


def test_a_difference_says_where_what_and_whom():
    (difference,) = changed(int, float)

    assert str(difference) == "/field was integer, is number: breaks older readers"


@pytest.fixture
def committed(tmp_path):
    """A folder with the schema of an event as it was released."""
    for path, text in stale_files([event(field=str)], tmp_path):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path


def test_a_breaking_change_under_the_same_version_is_refused(committed):
    broken = list(broken_files([event(field=int)], committed))

    expected = "/field was string, is integer: breaks older readers and what is stored"
    assert broken == [("test.told/v1", expected)]


def test_the_same_change_passes_as_a_new_version_and_the_old_schema_stays(committed):
    raised = event(version=2, field=int)

    assert list(broken_files([raised], committed)) == []
    assert [path.name for path, _ in stale_files([raised], committed)] == ["v2.json"]


def test_an_older_class_that_can_still_be_written_is_held_to_its_schema(committed):
    raised = event(version=2, field=int)

    broken = list(broken_files([raised, event(field=float)], committed))

    assert [name for name, _ in broken] == ["test.told/v1"]


def test_a_released_type_stays_in_the_contract(committed):
    assert list(broken_files([], committed)) == [
        ("test.told/v1", "is a type of the contract no more")
    ]


def test_a_version_never_goes_down(committed):
    for path, text in stale_files([event(version=2, field=int)], committed):
        path.write_text(text)

    assert list(broken_files([event(field=str)], committed)) == [
        ("test.told/v2", "was released, and the newest class is v1")
    ]


def test_nothing_is_written_over_what_would_break(committed, monkeypatch, capsys):
    """`make generate` says what is wrong, and leaves the file as it is."""
    contract = Contract((Topic("test.told", "test", (event(field=int),)),))
    monkeypatch.setattr(schemas, "CONTRACT", contract)
    monkeypatch.setattr(schemas, "FOLDER", committed)

    for arguments in ([], ["--check"]):
        assert schemas.main(arguments) == 1
        assert "breaking: test.told/v1 /field was string" in capsys.readouterr().out
    released = json.loads((committed / "test.told" / "v1.json").read_text())
    assert released["properties"]["field"]["type"] == "string"
