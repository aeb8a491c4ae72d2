"""A place in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Position(NamedTuple):
    """Where a row stands: database epoch, transaction, row. Ordered as the log is read."""

    epoch: int
    xid: int
    gp: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.xid}.{self.gp}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `str(position)` back.

        Raises:
            ValueError: it is not three non-negative integers joined by dots, each below 2^63.
        """
        parts = text.split(".")
        if len(parts) != len(cls._fields) or not all(p.isascii() and p.isdigit() for p in parts):
            raise ValueError("a position reads <epoch>.<transaction>.<row>")
        epoch, xid, gp = (int(part) for part in parts)
        if epoch >= 2**31 or max(xid, gp) >= 2**63:
            raise ValueError("a position's numbers are below 2^63")
        return cls(epoch, xid, gp)


START = Position(0, 0, 0)
"""Before the first row."""

LAST: Final = Position(2**31 - 1, 2**64 - 1, 2**63 - 1)
"""Behind every row."""


def columns(positions: Iterable[Position]) -> tuple[list[int], list[str], list[int]]:
    """Positions as arrays of epochs, transactions (as text) and rows."""
    places = list(positions)
    return (
        [place.epoch for place in places],
        [str(place.xid) for place in places],
        [place.gp for place in places],
    )


def bounds(after: Position, until: Position) -> tuple[Any, ...]:
    """The first six arguments of a statement that reads behind `after`, up to `until`."""
    return (after.epoch, str(after.xid), after.gp, until.epoch, str(until.xid), until.gp)
