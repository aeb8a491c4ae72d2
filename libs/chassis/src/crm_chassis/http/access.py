"""Who may call a route: every one names its scope, or says that it is public."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from crm_chassis.apikeys import ApiKeys, Caller
from crm_chassis.http.problems import Problem

OPEN: Final = "public"
KEY_SCHEME: Final = "API key"

_bearer: Final = HTTPBearer(
    auto_error=False, scheme_name=KEY_SCHEME, description="`Authorization: Bearer kith_...`"
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


def public(*, own_keys: Mapping[str, Mapping[str, Any]] | None = None) -> Callable[..., Any]:
    """A dependency that states that a route is open to everybody, on purpose.

    `own_keys`: for one that knows its callers by itself, the ways to hand it a key, by name: each
    an OpenAPI security scheme, of which a caller takes one.
    """

    async def allowed() -> None: ...

    allowed.scope = OPEN  # pyright: ignore[reportFunctionMemberAccess]  # read by assert_scoped
    allowed.own_keys = own_keys or {}  # pyright: ignore[reportFunctionMemberAccess]  # and described
    return allowed


def assert_scoped(app: FastAPI, *, plain: Iterable[str] = ()) -> None:
    """Raise UnscopedRouteError unless every route names a scope, or is public on purpose.

    `plain` are the paths of routes that FastAPI makes by itself (documentation).
    """
    unscoped = [
        each.path for each in route_access(app) if not each.scopes and each.path not in plain
    ]
    if unscoped:
        raise UnscopedRouteError(f"name a scope, or public(), for: {', '.join(unscoped)}")


@dataclass(frozen=True, slots=True)
class RouteAccess:
    """What a route asks of its callers. `own_keys` are security schemes by name, see `public`."""

    path: str
    methods: frozenset[str]
    scopes: frozenset[str]
    own_keys: dict[str, Any]


def route_access(app: FastAPI) -> Iterator[RouteAccess]:
    """Each route with the scopes that it asks for."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        asked = list(_asked(context.dependant)) if isinstance(route, APIRoute) else []
        yield RouteAccess(
            path=context.path_format or context.path or "",
            methods=frozenset(context.methods or ()),
            scopes=frozenset(each.scope for each in asked),
            own_keys={
                name: scheme
                for each in asked
                for name, scheme in getattr(each, "own_keys", {}).items()
            },
        )


def _asked(dependant: Dependant) -> Iterator[Any]:
    if isinstance(getattr(dependant.call, "scope", None), str):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _asked(inner)
