"""Several writes as one statement: one round trip, one short transaction, all or nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from crm_store.log.entries import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLACEHOLDER: Final = re.compile(r"\$(\d+)")


def guarded(move: Statement, writes: Sequence[Statement]) -> Statement:
    """`move` must change exactly one row, else SQLSTATE KM001 and nothing is written.

    All parts see the same snapshot, so no two of them may write the same row.
    """
    first = Statement(f"{move.sql} returning 1", move.args)
    clauses = _clauses((first, *writes))
    # S608: every part is a constant of the code.
    sql = f"with {clauses.sql} select assert_moved((select count(*) from w0), 1)"  # noqa: S608
    return Statement(sql, clauses.args)


def followed(
    rows: Statement, writes: Sequence[Statement], *, fence: Statement | None = None
) -> Statement:
    """`rows` is a select and what is answered; when it is through, the writes are done.

    `fence` must change exactly one row, else SQLSTATE KM001 and nothing is written; it is looked at
    once `rows` gave one. All parts see the same snapshot, so no two of them may write the same row.
    """
    if fence is not None:
        writes = (Statement(f"{fence.sql} returning 1", fence.args), *writes)
    if not writes:
        return rows
    clauses = _clauses(writes, behind=len(rows.args))
    answered = rows.sql
    if fence is not None:
        # In the select list, and of a function's rows: a fence that ran before it would take the
        # transaction id before the locks of the streams.
        moved = "assert_moved((select count(*) from w0), 1)"
        answered = f"select r.*, {moved} from ({rows.sql}) r"  # noqa: S608  # constants of the code
    return Statement(f"with {clauses.sql} {answered}", (*rows.args, *clauses.args))


def _clauses(parts: Sequence[Statement], *, behind: int = 0) -> Statement:
    """The parts as members of a `with`, their placeholders counted on from `behind`."""
    sql = _joined(tuple((part.sql, len(part.args)) for part in parts), behind)
    return Statement(sql, tuple(chain.from_iterable(part.args for part in parts)))


@lru_cache(maxsize=256)
def _joined(parts: tuple[tuple[str, int], ...], taken: int) -> str:
    clauses: list[str] = []
    for number, (sql, width) in enumerate(parts):
        shift = taken
        shifted = _PLACEHOLDER.sub(lambda m, by=shift: f"${int(m[1]) + by}", sql)
        clauses.append(f"w{number} as ({shifted})")
        taken += width
    return ", ".join(clauses)
