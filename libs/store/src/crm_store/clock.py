"""The one place where the time of day is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present instant, aware and in UTC. Passed in, so that tests state theirs."""


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # the edge all others are given as a clock
