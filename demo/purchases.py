"""The CDNOW purchase history (Fader and Hardie), as the package `lifetimes` ships it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Final

LAST_PURCHASE: Final = date(1998, 6, 30)
"""The last day of the history, in the sample and in the whole."""

SAMPLE, WHOLE = "CDNOW_sample.txt", "CDNOW_master.txt"


@dataclass(frozen=True, slots=True)
class Purchase:
    """One line of the history, its day already moved. The hour is noon UTC: the data has none."""

    order_id: str  # "<customer>-<ordinal of the customer's purchase>"
    customer: str
    at: datetime
    discs: int
    total: Decimal  # USD


def moved_by(today: date) -> timedelta:
    """The one constant by which all days are moved: the last purchase becomes yesterday."""
    return today - timedelta(days=1) - LAST_PURCHASE


def read_purchases(*, whole: bool, moved: timedelta) -> list[Purchase]:
    """Every purchase in order of time; the whole has 69,659, the sample 6,919."""
    spec = find_spec("lifetimes")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package lifetimes, which ships the data, is not installed")
    path = Path(spec.origin).with_name("datasets") / (WHOLE if whole else SAMPLE)
    counts: dict[str, int] = {}
    purchases: list[Purchase] = []
    for line in path.read_text().splitlines():
        # The sample has a second customer number, its own; the first is the same in both.
        cells = line.split()
        if not cells or not cells[0].isdigit():
            continue  # the whole opens with a line of names
        customer, (day, discs, total) = cells[0], cells[-3:]
        counts[customer] = counts.get(customer, 0) + 1
        bought = date(int(day[:4]), int(day[4:6]), int(day[6:])) + moved
        purchases.append(
            Purchase(
                order_id=f"{customer}-{counts[customer]}",
                customer=customer,
                at=datetime.combine(bought, time(12), UTC),
                discs=int(discs),
                total=Decimal(total),
            )
        )
    return sorted(purchases, key=lambda purchase: purchase.at)
