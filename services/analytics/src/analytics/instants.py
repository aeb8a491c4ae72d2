"""Instants: when a fact counts as having happened, and which ones may be asked about."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

TOLERANCE: Final = timedelta(minutes=5)
"""How far a sender's clock may run ahead before its times are not believed."""

EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)

Instant = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
"""One that can be asked about: with an offset, and some years away from the ends of time."""


def happened_at(occurred_at: datetime, recorded_at: datetime) -> datetime:
    """`occurred_at`, or `recorded_at` where it lies more than 5 minutes before that.

    Never measured against the reader's own clock, so that a rebuild agrees.
    """
    if occurred_at > recorded_at and occurred_at - recorded_at > TOLERANCE:
        return recorded_at
    return occurred_at
