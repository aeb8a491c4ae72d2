"""Which band of its model a score is in and when it leaves it, with nothing but time. Pure.

Both sums of a score halve together, so their difference is one term as well:

    value(t) = sign * exp(net - rate * (t - landmark)),  net = ln |exp(s) - exp(s_negative)|

It only goes towards 0. It crosses a threshold on its own side of 0 once, and no other one:

    t = landmark + (net - ln |threshold|) / rate

A value above 0 falls out of its band there, one below 0 rises out of it. A band is told by
comparing instants with these crossings, so that what was stored as the end of a band and what is
found at that instant agree to the microsecond.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from crm_events.analytics import BandCause

from analytics.engagement.decay import log_net
from analytics.engagement.sums import NOTHING

if TYPE_CHECKING:
    from analytics.engagement.decay import Decay
    from analytics.engagement.model import ScoringModel
    from analytics.engagement.sums import Sums

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)
MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class InBand:
    """A band, and when a score leaves it if nothing more is heard; None: never."""

    name: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """A score went from one band to another."""

    was: str
    band: str
    at: datetime
    cause: BandCause


def band_at(model: ScoringModel, sums: Sums, at: datetime) -> InBand:
    """The band of a score at an instant. The model has bands."""
    sign, net = _course(sums)
    found = InBand(model.bands[0].name, None)
    for band in model.bands[1:]:
        threshold = band.at_least or 0.0
        crossing = _crossing(net, threshold, model.decay) if sign * threshold > 0 else None
        if crossing is None:
            reached = sign >= 0 >= threshold
        else:
            reached = (at < crossing) if sign > 0 else (at >= crossing)
        if reached:
            found = InBand(band.name, crossing if sign > 0 else None)
            continue
        if sign < 0:
            found = InBand(found.name, crossing)
        break
    return InBand(found.name, None) if found.until == LATEST else found


def resting(model: ScoringModel) -> str:
    """The band of those of whom nothing was heard: that of the value 0."""
    return band_at(model, NOTHING, model.landmark).name


def changes_of(
    model: ScoringModel, told: str, sums: Sums, *, left_at: datetime | None, now: datetime
) -> tuple[list[Change], InBand]:
    """What is to be told at `now` after `told`, and the band that it ends in.

    `left_at` is when the score left the told band by time alone: every crossing since is told.
    None: facts were heard, and what counts is where the score is now.
    """
    if left_at is None:
        present = band_at(model, sums, now)
        if present.name == told:
            return [], present
        return [Change(told, present.name, now, BandCause.FACT)], present
    changes: list[Change] = []
    at = left_at
    for _ in model.bands:  # it goes through each once at most
        present = band_at(model, sums, at)
        if present.name != told:
            changes.append(Change(told, present.name, at, BandCause.TIME))
            told = present.name
        if present.until is None or present.until > now:
            return changes, present
        at = present.until
    return changes, band_at(model, sums, now)


def _course(sums: Sums) -> tuple[int, float]:
    """The sign of a score and the logarithm of its size, in which both sums are one term."""
    positive = log_net(sums.s, sums.s_negative)
    if positive is not None:
        return 1, positive
    negative = log_net(sums.s_negative, sums.s)
    return (0, 0.0) if negative is None else (-1, negative)


def _crossing(net: float, threshold: float, decay: Decay) -> datetime:
    """When a value is as far from 0 as a threshold, to the microsecond."""
    seconds = (net - math.log(abs(threshold))) / decay.rate
    try:
        return decay.landmark + timedelta(microseconds=round(seconds * MICROSECONDS))
    except OverflowError:  # of an instant, or of its distance
        return LATEST if seconds > 0 else EARLIEST
