"""The live stream `moves`: each score as it moves, under the models that are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from crm_chassis.http.live_client import Message, Stream
from crm_events.analytics import ScoreMoved

from analytics.engagement.decay import Decay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from crm_store.log.logged import LoggedEvent

    from analytics.engagement.model import ScoringModel

MOVED: Final = "moved"


def moves(models: Mapping[str, ScoringModel]) -> Stream:
    """The stream. A model that takes another version has all clients begin anew."""
    versions = {model.name: model.version for model in models.values()}

    def tell(logged: LoggedEvent[Any], now: datetime) -> Message | None:
        event = cast("ScoreMoved", logged.event)
        if versions.get(event.model) != event.model_version:
            return None
        return Message(MOVED, move_of(event, now))

    meaning = " ".join(f"{name}:{version}" for name, version in sorted(versions.items()))
    return Stream("moves", meaning, (ScoreMoved.type,), tell)


def move_of(event: ScoreMoved, at: datetime) -> dict[str, Any]:
    """What a client is told: where the score of this customer id stands, and its value at `at`."""
    decay = Decay(event.landmark, event.half_life_seconds)
    return {
        "customer_id": str(event.customer_id),
        "model": {"name": event.model, "version": event.model_version},
        "at": at.isoformat(),
        "value": decay.value(event.s, at) - decay.value(event.s_negative, at),
        "s": event.s,
        "s_negative": event.s_negative,
        "counted": event.counted,
        "last_fact_at": event.last_fact_at.isoformat(),
    }
