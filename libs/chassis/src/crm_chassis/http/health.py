"""/livez by progress, /readyz by what is needed to answer, /metrics for Prometheus."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crm_projections.telling import Models
from crm_store.errors import is_dependency_error
from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.responses import JSONResponse, Response

from crm_chassis.http.access import public

LONGEST_PING_S: Final = 1.0
PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes ask.

    `migrated`: has the database all that this release needs? The same question that its loops
    wait for; it raises what the server raises when it is away. `log` tells whether it may be
    written to, `kafka` whether a broker answers, `details` what else a service stands on: none of
    them decides anything, reads are answered.
    """

    migrated: Callable[[], Awaitable[bool]]
    log: Callable[[], Awaitable[str]]
    kafka: Callable[[], Awaitable[bool]]
    stalled: Callable[[], tuple[str, ...]]
    details: Mapping[str, Callable[[], str]] = field(default_factory=dict[str, Callable[[], str]])
    models: Callable[[], Awaitable[Models]] | None = None

    async def database(self) -> str:
        """ready, not-migrated, or away."""
        try:
            async with asyncio.timeout(LONGEST_PING_S):
                return "ready" if await self.migrated() else "not-migrated"
        except Exception as error:
            if not is_dependency_error(error):
                raise
            return "away"


def health_router(health: Health) -> APIRouter:
    router = APIRouter(tags=["health"], dependencies=[Depends(public())])

    @router.get("/livez")
    async def livez() -> JSONResponse:
        """503 when a loop shows no progress. An outage around us is no reason to restart us."""
        stalled = health.stalled()
        return JSONResponse({"stalled": list(stalled)}, 503 if stalled else 200)

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 when questions can be answered: the database is there and prepared, with rows."""
        database, kafka = await asyncio.gather(health.database(), health.kafka())
        told: dict[str, Any] = {"database": database, "kafka": "ready" if kafka else "away"}
        told |= {name: tell() for name, tell in health.details.items()}
        ready = database == "ready"
        if ready:
            told["log"] = await health.log()
        if ready and health.models is not None:
            models = await health.models()
            ready = not models.building
            told |= {"building": models.building, "paused": models.paused}
        return JSONResponse(told, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return router
