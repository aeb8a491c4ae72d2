"""When a fact counts as having happened: as told, unless that lies after it was recorded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

TOLERANCE: Final = timedelta(minutes=5)
"""How far a sender's clock may run ahead before its times are not believed."""


def happened_at(occurred_at: datetime, recorded_at: datetime) -> datetime:
    """`occurred_at`, or `recorded_at` where it lies more than 5 minutes before that.

    Never measured against the reader's own clock, so that a rebuild agrees.
    """
    return recorded_at if occurred_at - recorded_at > TOLERANCE else occurred_at
