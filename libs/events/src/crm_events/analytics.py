"""What analytics publishes: how its scores move, and which band each is in."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime

from crm_events.base import Event


class ScoreMoved(Event, type="analytics.score.moved", version=1):
    """A customer's score took a new course; its value at any instant follows.

    value(t) = exp(s - k) - exp(s_negative - k), k = ln 2 * (t - landmark) / half_life, each
    term missing where its logarithm is None. Published at most once per customer and model in
    2 s. It covers the facts that bear this customer id; sum over linked ids.
    """

    customer_id: UUID
    model: str
    model_version: int
    s: float | None
    s_negative: float | None
    landmark: AwareDatetime
    half_life_seconds: float
    counted: int  # facts that count, after caps
    last_fact_at: AwareDatetime


class BandCause(StrEnum):
    """What brought a score into another band."""

    FACT = "fact"  # something was heard of the customer, or something late
    TIME = "time"  # nothing but time went by


class BandChanged(Event, type="analytics.customer.band-changed", version=1):
    """A customer's score is in another band of its model.

    By time alone `at` is the instant of the crossing, told within seconds of it, and each
    crossing is told once; by a fact `at` is when the score with it was looked at, and `band` is
    what was true then, however late the fact was heard. A customer of whom nothing was told is in
    the band of the value 0. It covers the facts that bear this customer id, as `ScoreMoved`.
    """

    customer_id: UUID
    model: str
    model_version: int
    was: str
    band: str
    at: AwareDatetime
    cause: BandCause
