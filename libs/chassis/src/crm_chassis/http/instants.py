"""Instants that may be asked about."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)

Instant = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
"""One that can be asked about: with an offset, and some years away from the ends of time."""
