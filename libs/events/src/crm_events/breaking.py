"""What of a changed contract breaks whom: the gate that every generated file has to pass.

An older reader meets what is written from now on, and this release meets what was written before.
What goes wrong for neither may change under its version; everything else is a new version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from crm_events.placement import SEALED_FIELD

Schema = Mapping[str, Any]
"""A JSON Schema as `crm_events.schemas` writes it."""


class Side(StrEnum):
    """Who goes wrong."""

    FORMER = "older readers"  # of what is written now
    STORED = "what is stored"  # when it is read now


@dataclass(frozen=True, slots=True)
class Difference:
    """A change that breaks somebody. `place` is a pointer into the data, `*` for every item."""

    place: str
    what: str
    breaks: tuple[Side, ...]

    def __str__(self) -> str:
        return f"{self.place or '/'} {self.what}: breaks {' and '.join(self.breaks)}"


def differences(old: Schema, new: Schema) -> tuple[Difference, ...]:
    """Say what breaks when data that `old` describes is described by `new` from now on.

    Optional fields that were added, words and titles break nobody and are not named. What a schema
    does not say (what a validator refuses, what a field means) is not seen.
    """
    comparison = _Comparison(old, new)
    found = [*comparison.nodes(old, new, ""), *comparison.personal()]
    return tuple(dict.fromkeys(found))


def topic_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Say what breaks between two AsyncAPI documents as `crm_events.asyncapi` writes them.

    Payloads of events are not compared: they are only referred to.
    """
    found: list[Difference] = []
    for name, was in old["channels"].items():
        now: Mapping[str, Any] | None = new["channels"].get(name)
        if now is None:
            found.append(Difference(name, "is no topic any more", _BOTH))
            continue
        for what in ("address", "x-publisher", "bindings"):
            if was[what] != now[what]:
                told = f"had {what} {_text(was[what])}, has {_text(now[what])}"
                found.append(Difference(name, told, _BOTH))
        gone = [message for message in was["messages"] if message not in now["messages"]]
        found += [Difference(name, f"carries {message} no more", _BOTH) for message in gone]
    described = _described(new)
    for name, shape in _described(old).items():
        if name in described:  # else its message is gone, which was told
            found += [
                Difference(f"{name}{one.place}", one.what, one.breaks)
                for one in differences(shape, described[name])
            ]
    return tuple(found)


_FORMER: Final = (Side.FORMER,)
_STORED: Final = (Side.STORED,)
_BOTH: Final = (Side.FORMER, Side.STORED)

_ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$defs", "title", "description", "examples", "deprecated", "x-personal"}
)
_COMPARED: Final = frozenset(
    {"$ref", "type", "anyOf", "enum", "const", "default", "items", "properties", "required"}
    | {"additionalProperties"}
)
_LOWER: Final = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
_UPPER: Final = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")


def _described(document: Mapping[str, Any]) -> dict[str, Schema]:
    """Return the schemas that an AsyncAPI document has in itself: what is shared, and the keys."""
    parts = document["components"]
    keys = {
        f"key of {name}": message["bindings"]["kafka"]["key"]
        for name, message in parts["messages"].items()
    }
    return {**parts["schemas"], **keys}


class _Comparison:
    """One pass over two schemas; what is plain in one and personal in the other is met twice."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old_definitions: Mapping[str, Schema] = old.get("$defs", {})
        self._new_definitions: Mapping[str, Schema] = new.get("$defs", {})
        self._was_personal: Mapping[str, Schema] = old.get("x-personal", {})
        self._is_personal: Mapping[str, Schema] = new.get("x-personal", {})
        self._added: set[str] = set()
        self._gone: set[str] = set()
        self._within: list[tuple[str, str]] = []

    def personal(self) -> Iterator[Difference]:
        """Compare what is sealed; to be called when everything else is."""
        for place, was in self._was_personal.items():
            if place in self._is_personal:
                yield from self.nodes(was, self._is_personal[place], place)
            elif place in self._added:
                yield Difference(place, "was personal, lies in the clear now", _BOTH)
            else:
                yield Difference(place, "is gone", _BOTH)
        for place in self._is_personal:
            if place in self._gone:
                yield Difference(place, "lay in the clear, is personal now", _BOTH)

    def nodes(self, old: Schema, new: Schema, place: str) -> Iterator[Difference]:
        pair = (old.get("$ref", ""), new.get("$ref", ""))
        if all(pair) and pair in self._within:
            return  # a model that holds itself
        self._within.append(pair)
        was, now = _resolved(old, self._old_definitions), _resolved(new, self._new_definitions)
        if "default" in was and "default" in now and was["default"] != now["default"]:
            told = f"reads {_text(now['default'])} where it is missing, not {_text(was['default'])}"
            yield Difference(place, told, _STORED)
        forms = _forms(was, self._old_definitions)
        present = _forms(now, self._new_definitions)
        if (_NULL in forms) != (_NULL in present):
            if _NULL in forms:
                yield Difference(place, "is never null now", _STORED)
            else:
                yield Difference(place, "may be null now", _FORMER)
        forms = [form for form in forms if form != _NULL]
        present = [form for form in present if form != _NULL]
        if len(forms) == len(present) == 1:
            yield from self._single(forms[0], present[0], place)
        else:
            yield from self._several(forms, present, place)
        self._within.pop()

    def _several(
        self, old: Iterable[Schema], new: Iterable[Schema], place: str
    ) -> Iterator[Difference]:
        was = {_text(_inlined(form, self._old_definitions)) for form in old}
        now = {_text(_inlined(form, self._new_definitions)) for form in new}
        if was - now:
            yield Difference(place, "has lost one of its forms", _STORED)
        if now - was:
            yield Difference(place, "has one more form", _FORMER)

    def _single(self, old: Schema, new: Schema, place: str) -> Iterator[Difference]:
        was, now = old.get("type"), new.get("type")
        if was != now:
            told = f"was {was or 'anything'}, is {now or 'anything'}"
            yield Difference(place, told, _of_types(was, now))
            return
        yield from _values(old, new, place)
        yield from _limits(old, new, place)
        yield from self._others(old, new, place)
        yield from self._inner(old.get("items", True), new.get("items", True), place)
        more, less = old.get("additionalProperties", True), new.get("additionalProperties", True)
        yield from self._inner(more, less, place)
        yield from self._properties(old, new, place)

    def _others(self, old: Schema, new: Schema, place: str) -> Iterator[Difference]:
        """Compare keywords of which only equality is understood, as pattern and format."""
        known = _ANNOTATIONS | _COMPARED | {*_LOWER, *_UPPER}
        for word in sorted((old.keys() | new.keys()) - known):
            was = _text(_inlined(old.get(word), self._old_definitions))
            now = _text(_inlined(new.get(word), self._new_definitions))
            if word not in old:
                yield Difference(place, f"has the {word} {now} now", _STORED)
            elif word not in new:
                yield Difference(place, f"has no {word} any more", _FORMER)
            elif was != now:
                yield Difference(place, f"had the {word} {was}, has {now}", _BOTH)

    def _inner(self, old: _Inner, new: _Inner, place: str) -> Iterator[Difference]:
        if not isinstance(old, bool) and not isinstance(new, bool):
            yield from self.nodes(old, new, f"{place}/*")
        elif old != new:
            narrower = old is True or new is False
            told = "holds less than it did" if narrower else "holds more than it did"
            yield Difference(f"{place}/*", told, _STORED if narrower else _FORMER)

    def _properties(self, old: Schema, new: Schema, place: str) -> Iterator[Difference]:
        was: Mapping[str, Schema] = old.get("properties", {})
        now: Mapping[str, Schema] = new.get("properties", {})
        needed, needs = old.get("required", ()), new.get("required", ())
        for name in dict.fromkeys((*was, *now)):
            below = f"{place}/{name}"
            if below == f"/{SEALED_FIELD}":
                continue  # follows from what is personal
            if name not in now:
                self._gone.add(below)
                if below not in self._is_personal:
                    yield Difference(below, "is gone", _BOTH)
            elif name not in was:
                self._added.add(below)
                if name in needs and below not in self._was_personal:
                    yield Difference(below, "is new and required", _STORED)
            else:
                if name in needs and name not in needed:
                    yield Difference(below, "is required now", _STORED)
                if name in needed and name not in needs:
                    yield Difference(below, "may be missing now", _FORMER)
                yield from self.nodes(was[name], now[name], below)


_NULL: Final[Schema] = {"type": "null"}
_Inner = Schema | bool
"""What a part has to be; True lets in anything, False nothing."""


def _resolved(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    while "$ref" in node:
        beside = {word: value for word, value in node.items() if word != "$ref"}
        node = {**definitions[node["$ref"].removeprefix("#/$defs/")], **beside}
    return node


def _forms(node: Schema, definitions: Mapping[str, Schema]) -> list[Schema]:
    """Return the forms that a value may have; a null is `_NULL`."""
    node = _resolved(node, definitions)
    if "anyOf" in node:
        return [form for one in node["anyOf"] for form in _forms(one, definitions)]
    return [_NULL if node.get("type") == "null" else node]


def _of_types(was: str | None, now: str | None) -> tuple[Side, ...]:
    if now is None or (was, now) == ("integer", "number"):
        return _FORMER
    if was is None or (was, now) == ("number", "integer"):
        return _STORED
    return _BOTH


def _values(old: Schema, new: Schema, place: str) -> Iterator[Difference]:
    was, now = _constants(old), _constants(new)
    if was is None and now is not None:
        yield Difference(place, f"is one of {', '.join(sorted(now))} now", _STORED)
    elif was is not None and now is None:
        yield Difference(place, f"may be other than {', '.join(sorted(was))} now", _FORMER)
    else:
        gone, added = (was or set()) - (now or set()), (now or set()) - (was or set())
        if gone:
            yield Difference(place, f"is never {', '.join(sorted(gone))} now", _STORED)
        if added:
            yield Difference(place, f"may be {', '.join(sorted(added))} now", _FORMER)


def _constants(node: Schema) -> set[str] | None:
    if "const" in node:
        return {_text(node["const"])}
    return {_text(value) for value in node["enum"]} if "enum" in node else None


def _limits(old: Schema, new: Schema, place: str) -> Iterator[Difference]:
    for word in (*_LOWER, *_UPPER):
        was, now = old.get(word), new.get(word)
        if was == now:
            continue
        tighter = was is None or (now is not None and (now > was) == (word in _LOWER))
        told = f"had {word} {_text(was)}, has {_text(now)}"
        yield Difference(place, told, _STORED if tighter else _FORMER)


def _inlined(node: Any, definitions: Mapping[str, Schema], within: tuple[str, ...] = ()) -> Any:  # noqa: ANN401  # JSON
    """Return `node` as it reads without names: definitions in their places, no annotations."""
    if isinstance(node, list):
        return [_inlined(item, definitions, within) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    members = cast("dict[str, Any]", node)
    name = members.get("$ref")
    if name is not None and name not in within:
        return _inlined(_resolved(members, definitions), definitions, (*within, name))
    kept = {word: value for word, value in members.items() if word not in _ANNOTATIONS}
    fields: dict[str, Any] = kept.pop("properties", {})  # whose names may be those of annotations
    inlined = {word: _inlined(value, definitions, within) for word, value in kept.items()}
    if fields:
        inlined["properties"] = {
            name: _inlined(field, definitions, within) for name, field in fields.items()
        }
    return inlined


def _text(value: Any) -> str:  # noqa: ANN401  # JSON
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
