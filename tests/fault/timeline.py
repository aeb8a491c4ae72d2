"""What was done to whom in a round, and when; whatever a fault acts through notes it here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

Entry = tuple[float, str]
"""Seconds of the round, and what happened then."""


@dataclass
class Timeline:
    """Of the round that runs."""

    entries: list[Entry] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def begin(self) -> list[Entry]:
        """Another round begins; where its entries will stand."""
        self.entries, self._began = [], time.monotonic()
        return self.entries

    def note(self, what: str) -> None:
        """It happened now."""
        self.entries.append((round(time.monotonic() - self._began, 2), what))


def unnoted(_: str) -> None:
    """For what no round asks about."""
