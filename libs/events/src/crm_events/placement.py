"""Where the personal fields of a class are: found once per class, used for every event."""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache, reduce
from typing import TYPE_CHECKING, Any, Final, Union, cast, get_args, get_origin

from pydantic import TypeAdapter

from crm_events.base import Value
from crm_events.personal import ERASED, SEALED, Erased, PersonalMark, Sealed, is_personal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo

    from crm_events.personal import Hidden

SEALED_FIELD: Final = "sealed"
"""The member of `data` that holds the ciphertexts; no class may have a field of this name."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A personal field. `dump` makes JSON of its value; None where the value is JSON already."""

    name: str
    dump: Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class Part:
    """A field that holds a model, or a sequence of models (`many`), with personal fields."""

    name: str
    many: bool
    placement: Placement


@dataclass(frozen=True, slots=True)
class Placement:
    """The personal fields of one class.

    `exclude` is what pydantic leaves out to write the rest; `defaulted` says that every personal
    field reads SEALED by default, so that data without them need not be completed.
    """

    leaves: tuple[Leaf, ...]
    parts: tuple[Part, ...]
    exclude: dict[str, Any]
    defaulted: bool

    def __bool__(self) -> bool:
        return bool(self.exclude)

    def collect(self, value: Value, into: dict[str, Any], *, above: str = "") -> None:
        """Put every personal value into `into`, by JSON pointer. What is hidden has none."""
        for leaf in self.leaves:
            personal = getattr(value, leaf.name)
            if personal is not SEALED and personal is not ERASED:
                pointer = f"{above}/{leaf.name}"
                into[pointer] = personal if leaf.dump is None else leaf.dump(personal)
        for part in self.parts:
            inner = getattr(value, part.name)
            if inner is None:
                continue
            if part.many:
                for index, item in enumerate(inner):
                    part.placement.collect(item, into, above=f"{above}/{part.name}/{index}")
            else:
                part.placement.collect(inner, into, above=f"{above}/{part.name}")

    def complete(self, data: dict[str, Any], hidden: Hidden) -> None:
        """Put `hidden` wherever `data` has no personal value."""
        for leaf in self.leaves:
            data.setdefault(leaf.name, hidden)
        for part in self.parts:
            inner: Any = data.get(part.name)
            items = cast("list[Any]", inner if part.many and isinstance(inner, list) else [inner])
            for item in items:
                if isinstance(item, dict):
                    part.placement.complete(cast("dict[str, Any]", item), hidden)

    def pointers(self, above: str = "") -> tuple[str, ...]:
        """Name the places, `*` for every item of a sequence."""
        found = [f"{above}/{leaf.name}" for leaf in self.leaves]
        for part in self.parts:
            below = f"{above}/{part.name}/*" if part.many else f"{above}/{part.name}"
            found += part.placement.pointers(below)
        return tuple(found)


@cache
def placement(cls: type[Value]) -> Placement:
    """Find the personal fields of `cls`, those of the models it holds included.

    Raises:
        TypeError: one is where it would not be sealed, or could be mistaken for an open value.
    """
    leaves: list[Leaf] = []
    parts: list[Part] = []
    for name, field in cls.model_fields.items():
        if is_personal(field):
            if not (field.is_required() or field.default is SEALED):
                raise TypeError(f"{cls.__name__}.{name} is personal: its default is SEALED or none")
            leaves.append(Leaf(name, _dump(field)))
        elif part := _part(cls, name, field.annotation):
            parts.append(part)
    if leaves or parts:
        _check_names(cls)
    return Placement(
        tuple(leaves),
        tuple(parts),
        {leaf.name: True for leaf in leaves}
        | {
            part.name: {"__all__": part.placement.exclude} if part.many else part.placement.exclude
            for part in parts
        },
        all(not cls.model_fields[leaf.name].is_required() for leaf in leaves)
        and all(part.placement.defaulted for part in parts),
    )


_SEQUENCES: Final = (tuple, list)
_PLAIN: Final = frozenset({str, int, float, bool, types.NoneType, Any, dict[str, Any]})


def _check_names(cls: type[Value]) -> None:
    for name, field in cls.model_fields.items():
        if name == SEALED_FIELD or field.alias or field.validation_alias:
            raise TypeError(f"{cls.__name__}.{name}: has an alias, or the name of what is sealed")


def _part(cls: type[Value], name: str, annotation: Any) -> Part | None:  # noqa: ANN401  # a type
    """Return the part that a field is; None for a field with nothing personal in it."""
    inner, many = _without_none(annotation), False
    arguments = get_args(inner)
    if get_origin(inner) in _SEQUENCES and arguments[1:] in ((), (...,)):
        inner, many = arguments[0], True
    if isinstance(inner, type) and issubclass(inner, Value):
        found = placement(inner)
        return Part(name, many, found) if found else None
    if _mentions_personal(annotation):
        raise TypeError(f"{cls.__name__}.{name}: personal data is not found inside this type")
    return None


def _without_none(annotation: Any) -> Any:  # noqa: ANN401  # any type
    if get_origin(annotation) in (Union, types.UnionType):
        others = [one for one in get_args(annotation) if one is not types.NoneType]
        return others[0] if len(others) == 1 else annotation
    return annotation


def _mentions_personal(annotation: Any) -> bool:  # noqa: ANN401  # any type
    if isinstance(annotation, PersonalMark):
        return True
    if isinstance(annotation, type) and issubclass(annotation, Value):
        return bool(placement(annotation))
    return any(_mentions_personal(one) for one in get_args(annotation))


def _dump(field: FieldInfo) -> Callable[[Any], Any] | None:
    open_types = [one for one in get_args(field.annotation) if one not in (Sealed, Erased)]
    if _PLAIN.issuperset(open_types):
        return None
    adapter = TypeAdapter[Any](reduce(lambda one, other: one | other, open_types))

    def dump(value: Any) -> Any:  # noqa: ANN401  # any JSON
        return adapter.dump_python(value, mode="json", warnings=False)  # a warning shows values

    return dump
