"""Several writes as one statement: one round trip, one short transaction, all or nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from crm_chassis.log.entries import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLACEHOLDER: Final = re.compile(r"\$(\d+)")


def guarded(move: Statement, writes: Sequence[Statement]) -> Statement:
    """`move` must change exactly one row, else SQLSTATE KM001 and nothing is written.

    All parts see the same snapshot, so no two of them may write the same table.
    """
    parts = (move, *writes)
    sql = _joined(tuple((part.sql, len(part.args)) for part in parts))
    args: list[Any] = []
    for part in parts:
        args.extend(part.args)
    return Statement(sql, tuple(args))


@lru_cache(maxsize=256)
def _joined(parts: tuple[tuple[str, int], ...]) -> str:
    taken = 0
    clauses: list[str] = []
    for number, (sql, width) in enumerate(parts):
        shift = taken
        shifted = _PLACEHOLDER.sub(lambda m, by=shift: f"${int(m[1]) + by}", sql)
        returning = " returning 1" if number == 0 else ""
        clauses.append(f"w{number} as ({shifted}{returning})")
        taken += width
    # S608: every part is a constant of the code.
    return f"with {', '.join(clauses)} select assert_moved((select count(*) from w0), 1)"  # noqa: S608
