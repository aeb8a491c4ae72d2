"""Appends to streams that are asked for at the same time share a statement and its commit."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from crm_store.errors import OTHER_EPOCH, is_dependency_error, sqlstate
from crm_store.log.entries import VersionConflictError
from crm_store.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

MOST_CALLS: Final = 64
MOST_EVENTS: Final = 8
"""Of one call: what has more goes by itself, so that a transaction stays far below 50 ms."""
MOST_CHARACTERS: Final = 16_384
"""Of data in one call, likewise."""

APPEND_EACH: Final = (
    "select o_stream, o_version, o_xid, o_gp from log_append_each($1, $2, $3, $4, $5, $6, $7, $8, "
    "$9, $10, $11, $12, $13, $14, $15, $16, $17)"
)


class Call(NamedTuple):
    """What one caller appends; `columns` of its events as `log_append` takes them."""

    epoch: int
    recorded_at: datetime
    streams: list[UUID]
    expected: list[int]
    columns: tuple[list[Any], ...]

    @property
    def joins(self) -> bool:
        """Is it small enough to share a transaction?"""
        data = self.columns[-2]
        return len(data) <= MOST_EVENTS and sum(map(len, data)) <= MOST_CHARACTERS


Answer = list["asyncpg.Record"] | VersionConflictError | None
"""The rows written; or why none was; or None: it has to come alone."""


class Together:
    """Takes calls as they come; those that come while others are being written go together."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sharing: Sharing[Call, Answer] = Sharing(self._append, most=MOST_CALLS)

    async def append(self, call: Call) -> list[asyncpg.Record] | None:
        """The rows written. None: nothing was, and it has to be appended by itself.

        Raises:
            VersionConflictError: a stream is not at its expected version. Nothing was written.
        """
        answer = await self._sharing.ask(call)
        if isinstance(answer, VersionConflictError):
            raise answer
        return answer

    async def _append(self, calls: Sequence[Call]) -> list[Answer]:
        """Append those of one epoch that have no stream in common, the others come alone."""
        answers: list[Answer] = [None] * len(calls)
        whose: dict[UUID, int] = {}
        for number, call in enumerate(calls):
            if call.epoch == calls[0].epoch and whose.keys().isdisjoint(call.streams):
                whose.update(dict.fromkeys(call.streams, number))
        taken = sorted(set(whose.values()))
        try:
            rows = await self._pool.fetch(APPEND_EACH, *_arguments(calls, taken))
        except Exception as error:
            if len(calls) == 1 or is_dependency_error(error) or sqlstate(error) == OTHER_EPOCH:
                raise
            return answers  # whose fault it was shows when each comes alone
        expected = {
            stream: version
            for number in taken
            for stream, version in zip(calls[number].streams, calls[number].expected, strict=True)
        }
        written: dict[int, list[asyncpg.Record]] = {}
        for row in rows:
            number = whose[row["o_stream"]]
            if row["o_gp"] is not None:
                written.setdefault(number, []).append(row)
            elif row["o_version"] not in (None, expected[row["o_stream"]]):
                answers[number] = VersionConflictError(row["o_stream"])
        for number, those in written.items():
            answers[number] = those
        return answers


def _arguments(calls: Sequence[Call], taken: Sequence[int]) -> tuple[Any, ...]:
    those = [(number, calls[number]) for number in taken]
    columns = zip(*(call.columns for _, call in those), strict=True)
    return (
        those[0][1].epoch,
        [number for number, call in those for _ in call.streams],
        [stream for _, call in those for stream in call.streams],
        [version for _, call in those for version in call.expected],
        [number for number, call in those for _ in call.columns[0]],
        [call.recorded_at for _, call in those for _ in call.columns[0]],
        *(list(itertools.chain.from_iterable(column)) for column in columns),
    )
