"""Bodies of commands: read through the gate for bad input, and refused with unknown fields."""

from typing import TYPE_CHECKING, Any

from crm_events.errors import BadInputError
from crm_events.gate import parse_json
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from crm_chassis.http.problems import bad_input

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


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
