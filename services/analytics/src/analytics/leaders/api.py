"""HTTP: the highest scores, a page that shows them, and the models they come from."""

from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import asyncpg
from crm_chassis.http.access import public, requires
from crm_chassis.http.pages import Paging, read_cursor, write_cursor
from crm_chassis.http.reads import ReadModelName, following
from crm_store.clock import Clock
from fastapi import APIRouter, Depends
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import HTMLResponse

from analytics.engagement.engagement import MOVED_EVERY_SECONDS
from analytics.engagement.model import ScoringModel
from analytics.engagement.named import SCOPE, ModelName, NamedModel, name_of, named
from analytics.leaders.ranked import Ranked, Top
from analytics.leaders.standings import read_leaders, read_owed

OWED_MEANS: Final = (
    "0 where every change that was folded is ranked. Else how long the oldest one has waited, at "
    f"most {MOVED_EVERY_SECONDS} s too long: a customer is ranked anew at most once in that time. "
    "From Redis also how old its copy is."
)
SOURCE_MEANS: Final = (
    "The first page comes from Redis where there is one that is level; all else from PostgreSQL."
)
PLACE: Final[TypeAdapter[tuple[float, UUID]]] = TypeAdapter(tuple[float, UUID])

ANSWERED = Counter("analytics_leaders_answers_total", "Answers of who leads.", ["source"])


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
    source: Annotated[Literal["redis", "postgresql"], Field(description=SOURCE_MEANS)]
    owed_seconds: Annotated[float, Field(ge=0, description=OWED_MEANS)]
    items: list[Leader]
    next: str | None


def leaders_router(
    *,
    pool: asyncpg.Pool,
    models: Mapping[str, ScoringModel],
    read_models: tuple[ReadModelName, ...],
    clock: Clock,
    ranked: Ranked | None,
) -> APIRouter:
    """The routes. `models` by name, the first is the one meant where none is named."""
    router = APIRouter(tags=["leaders"], dependencies=[Depends(requires(SCOPE))])

    @router.get("/leaders", dependencies=[Depends(following(*read_models))])
    async def leaders(paging: Paging, model: NamedModel = None) -> Leaders:
        """The highest scores above 0. Rank does not change with time, only with events."""
        asked = named(models, model)
        after = read_cursor(PLACE, paging.cursor)
        top = None
        if ranked is not None and after is None:
            top = await ranked.top(asked.model_id, paging.limit)
        source: Literal["redis", "postgresql"] = "postgresql" if top is None else "redis"
        if top is None:
            found = await read_leaders(pool, asked.model_id, after=after, limit=paging.limit)
            top = Top(found, await read_owed(pool, asked.model_id))
        ANSWERED.labels(source=source).inc()
        at = clock()
        items = [
            Leader(
                customer_id=one.customer_id,
                value=asked.decay.value(one.s_net, at),
                s_net=one.s_net,
                members=one.members,
            )
            for one in top.standings
            if one.s_net is not None
        ]
        full = len(items) == paging.limit
        return Leaders(
            model=name_of(asked),
            at=at,
            source=source,
            owed_seconds=top.owed_seconds,
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
