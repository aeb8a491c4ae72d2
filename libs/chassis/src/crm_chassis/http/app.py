"""A service's HTTP application: its routers with everything around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from crm_chassis.http.access import assert_scoped
from crm_chassis.http.bodies import GatedRoute
from crm_chassis.http.described import describe_access
from crm_chassis.http.edge import Edge
from crm_chassis.http.health import health_router
from crm_chassis.http.problems import MEDIA_TYPE, SCHEMA, add_problem_handlers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter

    from crm_chassis.apikeys import ApiKeys
    from crm_chassis.http.health import Health
    from crm_chassis.http.reads import Checkpoints

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
DOCUMENTATION: Final = ("/openapi.json", "/docs", "/docs/oauth2-redirect")


class UngatedBodyError(Exception):
    """A route takes a JSON body past the gate for bad input."""


def build_app(  # noqa: PLR0913  # collaborators, each named at the call
    *,
    title: str,
    version: str,
    routers: Sequence[APIRouter],
    api_keys: ApiKeys,
    checkpoints: Checkpoints,
    health: Health,
    max_body_bytes: int = MAX_BODY_BYTES,
    self_limited: tuple[str, ...] = (),
) -> FastAPI:
    """The application. Raises UnscopedRouteError or UngatedBodyError for a route that lacks one.

    `self_limited`: beginnings of paths whose routes bound their bodies by themselves.
    """
    app = FastAPI(
        title=title,
        version=version,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False},  # its spans tell paths, which may name people: see `Edge`
        responses={
            "4XX": {
                "description": "A problem document (RFC 9457)",
                "content": {MEDIA_TYPE: {"schema": SCHEMA}},
            }
        },
    )
    app.state.api_keys = api_keys
    app.state.checkpoints = checkpoints
    app.include_router(health_router(health))
    for router in routers:
        app.include_router(router)
    add_problem_handlers(app)
    app.add_middleware(Edge, max_body_bytes=max_body_bytes, self_limited=self_limited)
    assert_scoped(app, plain=DOCUMENTATION)
    _assert_gated(app)
    describe_access(app)
    return app


def probe_app(title: str, health: Health) -> FastAPI:
    """What a worker answers: /livez, /readyz and /metrics, and nothing else."""
    app = FastAPI(
        title=title,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False},
    )
    app.include_router(health_router(health))
    return app


def _assert_gated(app: FastAPI) -> None:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.body_field and not isinstance(route, GatedRoute):
            raise UngatedBodyError(f"{context.path}: make its router by gated_router()")
