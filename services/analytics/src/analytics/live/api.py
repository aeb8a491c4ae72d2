"""HTTP: scores as they move, of everybody or of one customer."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.live import LastSeen, LiveResponse, answer_live
from crm_chassis.http.live_feed import Feed
from fastapi import APIRouter, Depends

from analytics.customers.groups import group_of
from analytics.customers.links import read_links
from analytics.engagement.model import ScoringModel
from analytics.engagement.named import SCOPE, NamedModel, named


def live_router(*, pool: asyncpg.Pool, models: Mapping[str, ScoringModel], feed: Feed) -> APIRouter:
    """The routes. `models` by name, the first is the one meant where none is named."""
    router = APIRouter(tags=["live"], dependencies=[Depends(requires(SCOPE))])

    @router.get("/leaders/live", response_class=LiveResponse, status_code=200)
    async def moves(last: LastSeen, model: NamedModel = None) -> LiveResponse:
        """Server-sent events: `moved` for each score that moves, at most once in 2 s each.

        Its data is where the score of one customer id stands, so the last one counts. After
        `reset`, read /leaders anew. A customer whose ids are linked moves under each of them.
        """
        name = named(models, model).name
        return await answer_live(feed, last, lambda message: message.data["model"]["name"] == name)

    @router.get("/customers/{customer_id}/score/live", response_class=LiveResponse, status_code=200)
    async def moves_of_one(
        customer_id: UUID, last: LastSeen, model: NamedModel = None
    ) -> LiveResponse:
        """The same of one customer, under every id that is linked with this one at the beginning.

        A link that is made later counts when the client comes again, within 10 minutes.
        """
        name = named(models, model).name
        links = await read_links(pool, [customer_id])
        members = {str(member) for member in group_of(customer_id, links).members}
        return await answer_live(
            feed,
            last,
            lambda message: (
                message.data["customer_id"] in members and message.data["model"]["name"] == name
            ),
        )

    return router
