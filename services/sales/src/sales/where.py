"""Conditions of a statement: those that are asked for, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Asked = tuple[str, tuple[Any, ...]]
"""A condition with a `${}` for each of its values. Where the first is None nobody asks for it."""


def where(asked: Iterable[Asked], *, values: list[Any]) -> str:
    """The conditions joined; what they are about is added to `values`, by whose numbers it goes.

    What is not asked for is not in the statement: a plan for everything would use no index.
    """
    conditions = ["true"]
    for condition, given in asked:
        if given[0] is not None:
            numbers = range(len(values) + 1, len(values) + 1 + len(given))
            conditions.append(condition.format(*numbers))
            values += given
    return " and ".join(conditions)
