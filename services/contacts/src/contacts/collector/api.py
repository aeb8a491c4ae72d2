"""Segment's HTTP API, and the list of what was set aside."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

from crm_chassis.http.access import public, requires
from crm_chassis.http.pages import LONGEST_CURSOR, Page, read_cursor, write_cursor
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, TypeAdapter

from contacts.collector.answers import PREFLIGHT, no_route
from contacts.collector.segment import Kind
from contacts.collector.set_aside import PAGE_ROWS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from contacts.collector.collector import Collector
    from contacts.collector.set_aside import Drawer

BATCH_ROUTES: Final = ("batch", "b")
CALL_ROUTES: Final = {
    **{kind.value: kind for kind in Kind},
    # Browsers' SDK sends each call to its first letter.
    **{kind.value[0]: kind for kind in Kind},
}

WRITE_KEYS: Final = {
    "write key": {
        "type": "http",
        "scheme": "basic",
        "description": "A write key as user name, without a password; or `writeKey` in the body.",
    },
    "write key header": {"type": "apiKey", "in": "header", "name": "X-Write-Key"},
}

Place = TypeAdapter(tuple[datetime, UUID])
CursorQuery = Annotated[str | None, Query(max_length=LONGEST_CURSOR)]


class KeptMessage(BaseModel):
    """A message that was refused out of a batch; `content` is its JSON text as it came."""

    id: UUID
    source: str
    received_at: datetime
    code: str
    pointer: str
    reason: str
    content: str | None


def collector_routes(collector: Collector, drawer: Drawer) -> APIRouter:
    """`/v1/...`, each with and without a slash at its end: SDKs do not follow redirects.

    Open to everybody as far as the chassis goes: callers are known by their write keys.
    """
    router = APIRouter(tags=["collector"], redirect_slashes=False)
    sending = [Depends(public(own_keys=WRITE_KEYS))]

    async def preflight() -> Response:
        return Response(status_code=204, headers=PREFLIGHT)

    def takes(kind: Kind | None) -> Callable[[Request], Awaitable[Response]]:
        async def take(request: Request) -> Response:
            return await collector.answer(request, kind)

        return take

    routes: dict[str, Kind | None] = {**dict.fromkeys(BATCH_ROUTES), **CALL_ROUTES}
    for name, kind in routes.items():
        documented = name in {"batch", *Kind}
        for path in (f"/v1/{name}", f"/v1/{name}/"):
            router.add_api_route(
                path,
                takes(kind),
                methods=["POST"],
                dependencies=sending,
                operation_id=f"take_{name}",
                summary="A batch of calls" if kind is None else f"One {kind.value} call",
                include_in_schema=documented and not path.endswith("/"),
            )
            router.add_api_route(
                path,
                preflight,
                methods=["OPTIONS"],
                dependencies=sending,
                include_in_schema=False,
            )

    async def nowhere(rest: str) -> Response:
        return no_route(rest.removesuffix("/") in routes)

    # After all others, so that what is wrong is told in the collector's words, to any page.
    router.add_api_route(
        "/v1/{rest:path}",
        nowhere,
        methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        dependencies=sending,
        include_in_schema=False,
    )
    router.add_api_route(
        "/v1/{rest:path}",
        preflight,
        methods=["OPTIONS"],
        dependencies=sending,
        include_in_schema=False,
    )

    @router.get("/collector/set-aside", dependencies=[Depends(requires("collector:read"))])
    async def set_aside(cursor: CursorQuery = None) -> Page[KeptMessage]:
        """Messages that were refused out of batches that were taken, the newest first."""
        kept = await drawer.page(read_cursor(Place, cursor))
        full = len(kept) == PAGE_ROWS
        return Page[KeptMessage](
            items=[KeptMessage(**asdict(one)) for one in kept],
            next=write_cursor(Place, (kept[-1].received_at, kept[-1].id)) if full else None,
        )

    return router
