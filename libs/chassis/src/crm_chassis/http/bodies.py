"""Bodies of commands: read through the gate for bad input, and refused with unknown fields."""

import re
from typing import TYPE_CHECKING, Annotated, Any

from crm_events.errors import BadInputError
from crm_events.gate import parse_json
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from crm_chassis.http.problems import bad_input, invalid_input

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LARGEST_VERSION = 2**31 - 1
_VERSION = re.compile(r'("?)([0-9]{1,10})\1', re.ASCII)


class CommandBody(BaseModel):
    """The body of a command. A field it does not know is refused: a typo must not be lost."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _GatedRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401  # where JSON enters
        try:
            return parse_json(await self.body())
        except BadInputError as bad:
            raise bad_input(bad) from None


class GatedRoute(APIRoute):
    """Reads JSON through `crm_events.gate`, which refuses what PostgreSQL could not keep."""

    def get_route_handler(self) -> "Callable[[Request], Coroutine[Any, Any, Response]]":
        handle = super().get_route_handler()

        async def gated(request: Request) -> Response:
            return await handle(_GatedRequest(request.scope, request.receive))

        return gated


def gated_router(*, prefix: str = "", tag: str) -> APIRouter:
    """A router whose routes read their bodies through the gate."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=GatedRoute, redirect_slashes=False)


async def _expected_version(if_match: Annotated[str | None, Header()] = None) -> int | None:
    if if_match is None:
        return None
    stated = _VERSION.fullmatch(if_match.strip())
    if stated is not None and int(stated[2]) <= LARGEST_VERSION:
        return int(stated[2])
    raise invalid_input("header", "/If-Match", "is a stream's version in double quotes")


IfMatch = Annotated[int | None, Depends(_expected_version)]
"""The version the caller decided on, from `If-Match: "3"`; None where it states none."""


def etag(version: int) -> str:
    """The `ETag` of a stream's version."""
    return f'"{version}"'
