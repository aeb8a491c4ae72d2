"""Who may call a route: every one names its scope, or says that it is public."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from crm_chassis.apikeys import ApiKeys, Caller
from crm_chassis.http.problems import Problem

OPEN: Final = "public"

_bearer: Final = HTTPBearer(
    auto_error=False, scheme_name="API key", description="`Authorization: Bearer kith_...`"
)


class UnscopedRouteError(Exception):
    """A route names neither a scope nor that it is public."""


def requires(scope: str) -> Callable[..., Any]:
    """A dependency that lets in callers with this scope, and gives the route the `Caller`.

    `caller: Annotated[Caller, Depends(requires("scores:read"))]`, or in a route's
    `dependencies`. Answers 401 without a key that is live, 403 without the scope.
    """

    async def allowed(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Caller:
        keys: ApiKeys = request.app.state.api_keys
        caller = await keys.find(credentials.credentials) if credentials else None
        if caller is None:
            raise Problem(
                401,
                "unauthenticated",
                "Send a live API key: Authorization: Bearer kith_...",
                headers={"WWW-Authenticate": 'Bearer realm="kith"'},
            )
        request.state.caller = caller.name
        if scope not in caller.scopes:
            raise Problem(403, "scope-missing", f"This key lacks the scope {scope}.")
        return caller

    allowed.scope = scope  # pyright: ignore[reportFunctionMemberAccess]  # read by assert_scoped
    return allowed


def public() -> Callable[..., Any]:
    """A dependency that states that a route is open to everybody, on purpose."""

    async def allowed() -> None: ...

    allowed.scope = OPEN  # pyright: ignore[reportFunctionMemberAccess]  # read by assert_scoped
    return allowed


def assert_scoped(app: FastAPI, *, plain: Iterable[str] = ()) -> None:
    """Raise UnscopedRouteError unless every route names a scope, or is public on purpose.

    `plain` are the paths of routes that FastAPI makes by itself (documentation).
    """
    unscoped = [path for path, scopes in route_scopes(app) if not scopes and path not in plain]
    if unscoped:
        raise UnscopedRouteError(f"name a scope, or public(), for: {', '.join(unscoped)}")


def route_scopes(app: FastAPI) -> Iterator[tuple[str, frozenset[str]]]:
    """Each route's path, and the scopes that it asks for."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        named = _scopes(context.dependant) if isinstance(route, APIRoute) else ()
        yield context.path or "", frozenset(named)


def _scopes(dependant: Dependant) -> Iterator[str]:
    scope: object = getattr(dependant.call, "scope", None)
    if isinstance(scope, str):
        yield scope
    for inner in dependant.dependencies:
        yield from _scopes(inner)
