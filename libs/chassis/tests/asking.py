"""An application of a few routes, asked through ASGI as a client would."""

from __future__ import annotations

import asyncpg
import httpx
from crm_chassis.apikeys import ApiKeys
from crm_chassis.http.app import build_app
from crm_chassis.http.health import Health
from crm_chassis.http.reads import Checkpoints
from crm_kafka.answers import kafka_answers
from crm_projections.telling import Models
from crm_store.clock import utc_now
from crm_store.log import epochs
from fastapi import APIRouter, FastAPI
from probe import is_migrated


def app_of(
    pool: asyncpg.Pool,
    *routers: APIRouter,
    stalled: tuple[str, ...] = (),
    bootstrap: str = "127.0.0.1:1",
    models: Models | None = None,
) -> FastAPI:
    async def told() -> Models:
        return models or Models((), ())

    return build_app(
        title="probe",
        version="1",
        routers=routers,
        api_keys=ApiKeys(pool),
        checkpoints=Checkpoints(pool, utc_now),
        health=Health(
            migrated=lambda: is_migrated(pool),
            log=lambda: epochs.tell(pool),
            kafka=lambda: kafka_answers(bootstrap),
            stalled=lambda: stalled,
            models=None if models is None else told,
        ),
        max_body_bytes=10_000,
    )


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://probe"
    )
