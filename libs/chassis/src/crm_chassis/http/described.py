"""What the OpenAPI document says about keys: which one an operation takes, and its scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from crm_chassis.http.access import KEY_SCHEME, OPEN, route_access
from crm_chassis.http.problems import MEDIA_TYPE, SCHEMA

if TYPE_CHECKING:
    from fastapi import FastAPI

    from crm_chassis.http.access import RouteAccess

AWAY: Final = "The database is away, or not prepared yet; try again after `Retry-After` seconds."


def describe_access(app: FastAPI) -> None:
    """Have each operation behind a key name it, its scope (`x-scope` too), and its 503."""
    make = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            for access in route_access(app):
                _describe(document, access)
        return app.openapi_schema or {}

    app.openapi = described


def _describe(document: dict[str, Any], access: RouteAccess) -> None:
    path: dict[str, Any] = document["paths"].get(access.path, {})
    scopes = sorted(access.scopes - {OPEN})
    for method in access.methods:
        operation = path.get(method.lower())
        if operation is None or not (scopes or access.own_keys):
            continue
        away: dict[str, Any] = {"description": AWAY}
        if scopes:
            needs = f"Needs an API key with the scope {' and '.join(f'`{s}`' for s in scopes)}."
            operation["security"] = [{KEY_SCHEME: scopes}]
            operation["x-scope"] = " ".join(scopes)
            away["content"] = {MEDIA_TYPE: {"schema": SCHEMA}}
        else:
            needs = f"Takes a {' or a '.join(access.own_keys)}."
            operation["security"] = [{name: []} for name in access.own_keys]
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes |= access.own_keys
        said = operation.get("description")
        operation["description"] = f"{said}\n\n{needs}" if said else needs
        operation["responses"].setdefault("503", away)
