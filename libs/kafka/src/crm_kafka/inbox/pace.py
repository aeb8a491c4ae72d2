"""How many records a statement may write, by what statements took."""

from __future__ import annotations

from typing import Final

FEWEST: Final = 500
"""Where so few take long it is the machine: smaller batches would only be more of them."""
MOST: Final = 5_000
FIRST: Final = 1_000

LONG_S: Final = 0.040
"""Above it batches shrink: a statement holds a transaction id, and that holds every tail back."""
SHORT_S: Final = 0.020
"""Below it full batches grow."""


class Pace:
    """The size of the next batch; starts at 1,000 records."""

    def __init__(self) -> None:
        self.records = FIRST

    def note(self, records: int, seconds: float) -> None:
        """A statement wrote that many records in that time; of few it says nothing of more."""
        if seconds > LONG_S and records >= FEWEST:
            self.records = max(FEWEST, min(self.records, records) * 7 // 10)
        elif seconds < SHORT_S and records >= self.records * 9 // 10:
            self.records = min(MOST, self.records * 5 // 4)
