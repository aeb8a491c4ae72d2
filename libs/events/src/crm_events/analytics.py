"""What analytics publishes: how its scores move."""

from __future__ import annotations

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
