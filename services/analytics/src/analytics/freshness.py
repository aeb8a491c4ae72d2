"""HTTP: how far each read model is."""

from datetime import datetime

from crm_chassis.http.access import requires
from crm_chassis.http.reads import Checkpoints
from crm_store.clock import Clock
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from analytics.engagement.named import SCOPE


class ReadModelFreshness(BaseModel):
    """Where a read model stands. `age_seconds` is that of the oldest event it lacks, 0 for none.

    `stopped` is the error that it stands on, `paused` what an operator paused it for.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    position: str
    age_seconds: float
    owed_since: datetime | None
    stopped: str | None
    paused: str | None


def freshness_router(*, checkpoints: Checkpoints, clock: Clock) -> APIRouter:
    router = APIRouter(tags=["freshness"], dependencies=[Depends(requires(SCOPE))])

    @router.get("/freshness")
    async def freshness() -> list[ReadModelFreshness]:
        """How far each read model is."""
        known = await checkpoints.read()
        now = clock()
        return [
            ReadModelFreshness(
                name=name,
                version=version,
                position=str(each.position),
                age_seconds=max(0.0, (now - (each.owed_since or now)).total_seconds()),
                owed_since=each.owed_since,
                stopped=each.stopped,
                paused=each.paused,
            )
            for (name, version), each in sorted(known.items())
        ]

    return router
