"""Deciding anew while others were faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from crm_store.errors import sqlstate
from crm_store.log.entries import ReservedError, VersionConflictError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOST_ATTEMPTS: Final = 5
LOST: Final = frozenset({"40001", "40P01"})
"""SQLSTATE: older than the stream's last writer; chosen as the victim of a deadlock."""

T = TypeVar("T")


class TooManyConflictsError(Exception):
    """Others kept changing the same streams; nothing was written, the caller may try again."""


async def retried(attempt: Callable[[], Awaitable[T]]) -> T:
    """Look up, decide and append anew, each time in a new transaction, while others were faster.

    Raises:
        TooManyConflictsError: they were five times in a row.
    """
    for _ in range(MOST_ATTEMPTS):
        try:
            return await attempt()
        except (VersionConflictError, ReservedError):
            continue
        except Exception as error:
            if sqlstate(error) not in LOST:
                raise
    raise TooManyConflictsError
