"""HTTP: the highest scores, a page that shows them, and the models they come from."""

from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from crm_chassis.clock import Clock
from crm_chassis.http.access import public, requires
from crm_chassis.http.pages import Paging, read_cursor, write_cursor
from crm_chassis.http.reads import ReadModelName, following
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import HTMLResponse

from analytics.engagement.answers import ModelName, name_of
from analytics.engagement.api import SCOPE, NamedModel, named
from analytics.engagement.engagement import MOVED_EVERY_SECONDS
from analytics.engagement.model import ScoringModel

LEAST_OWED_SECONDS: Final = 0.001
"""Says that something is owed, however short a time."""

LEADERS: Final = """
select customer_id, s_net, members from standing
where model_id = $1 and ($2::float8 is null or (s_net, customer_id) < ($2, $3::uuid))
order by s_net desc, customer_id desc limit $4
"""
# When a change came is not kept: it was when it fell due, or within the wait before that, which
# makes the whole wait the most that it can have been owed.
OWED: Final = f"""
select (extract(epoch from now() - min(due_at)) + {MOVED_EVERY_SECONDS})::float8 from engagement
where model_id = $1 and due_at is not null
"""  # noqa: S608  # constants only
OWED_MEANS: Final = (
    "0 where every change that was folded is ranked. Else how long the oldest one has waited, at "
    f"most {MOVED_EVERY_SECONDS} s too long: a customer is ranked anew at most once in that time."
)
PLACE: Final[TypeAdapter[tuple[float, UUID]]] = TypeAdapter(tuple[float, UUID])


class Leader(BaseModel):
    """A customer with all ids linked into it. `s_net` ranks: its value does not change with time.

    value = exp(s_net - ln 2 * (at - landmark) / half-life)
    """

    model_config = ConfigDict(frozen=True)

    customer_id: UUID
    value: float
    s_net: float
    members: int


class Leaders(BaseModel):
    """The highest scores."""

    model_config = ConfigDict(frozen=True)

    model: ModelName
    at: datetime
    owed_seconds: Annotated[float, Field(ge=0, description=OWED_MEANS)]
    items: list[Leader]
    next: str | None


def leaders_router(
    *,
    pool: asyncpg.Pool,
    models: Mapping[str, ScoringModel],
    read_models: tuple[ReadModelName, ...],
    clock: Clock,
) -> APIRouter:
    """The routes. `models` by name, the first is the one meant where none is named."""
    router = APIRouter(tags=["leaders"], dependencies=[Depends(requires(SCOPE))])

    @router.get("/leaders", dependencies=[Depends(following(*read_models))])
    async def leaders(paging: Paging, model: NamedModel = None) -> Leaders:
        """The highest scores above 0. Rank does not change with time, only with events."""
        asked = named(models, model)
        s_net, customer_id = read_cursor(PLACE, paging.cursor) or (None, None)
        rows = await pool.fetch(LEADERS, asked.model_id, s_net, customer_id, paging.limit)
        owed: float | None = await pool.fetchval(OWED, asked.model_id)
        at = clock()
        items = [
            Leader(
                customer_id=row["customer_id"],
                value=asked.decay.value(row["s_net"], at),
                s_net=row["s_net"],
                members=row["members"],
            )
            for row in rows
        ]
        full = len(items) == paging.limit
        return Leaders(
            model=name_of(asked),
            at=at,
            owed_seconds=0.0 if owed is None else max(owed, LEAST_OWED_SECONDS),
            items=items,
            next=write_cursor(PLACE, (items[-1].s_net, items[-1].customer_id)) if full else None,
        )

    @router.get("/models")
    async def list_models() -> list[dict[str, Any]]:
        """The models as data: what counts, for how much, for how long, and why."""
        return [{**each.model_dump(mode="json"), "sha256": each.sha256} for each in models.values()]

    return router


def page_router(*, customer_file_url: str | None) -> APIRouter:
    """A page that moves as scores do. It holds no data: it asks with a key that it is given.

    `customer_file_url` holds `{customer_id}`; without it customers are no links.
    """
    router = APIRouter(tags=["pages"], dependencies=[Depends(public())])
    page = resources.files("analytics.leaders").joinpath("page.html").read_text("utf-8")
    page = page.replace("{{customer_file_url}}", customer_file_url or "")

    @router.get("/leaders.html", include_in_schema=False)
    async def leaders_page() -> HTMLResponse:
        return HTMLResponse(page)

    return router
