"""When a fact counts as having happened."""

from datetime import datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(minutes=5)
"""How far a sender's clock may run ahead before its times are not believed."""


def happened_at(occurred_at: datetime, recorded_at: datetime) -> datetime:
    """`occurred_at`, or `recorded_at` where it lies more than 5 minutes before that.

    Never measured against the reader's own clock, so that a rebuild agrees.
    """
    if occurred_at > recorded_at and occurred_at - recorded_at > TOLERANCE:
        return recorded_at
    return occurred_at
