"""The customer file over HTTP: who someone is, what they score, their deals, what happened."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import resources
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from crm_chassis.http.access import public, requires
from crm_chassis.http.bodies import gated_router
from crm_chassis.http.pages import Page, Paging, read_cursor, write_cursor
from crm_chassis.http.problems import Problem, invalid_input
from crm_chassis.http.reads import Freshness, following
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, TypeAdapter
from starlette.responses import HTMLResponse

from contacts.customer_file.deals import DealRow, deals, deals_of
from contacts.customer_file.scores import courses_of, scores, summed
from contacts.people.api import whole_group
from contacts.people.directory import Group, directory, identifiers_of
from contacts.timeline.timeline import Entry, entries, timeline

FIRST_ENTRIES: Final = 50
LARGEST_DETAIL_PAGE: Final = 200

READ = Depends(requires("people:read"))
Place = TypeAdapter(tuple[datetime, UUID])
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


class KnownIdentifier(BaseModel):
    namespace: str
    value: str | None  # None: erased
    given: str | None
    since: datetime
    customer_id: UUID  # the original that it leads to


class Original(BaseModel):
    """A customer id of the group; what its own facts say stays with it."""

    customer_id: UUID
    linked_into: UUID | None
    link_reason: str | None
    linked_at: datetime | None
    registered_at: datetime


class ScoreNow(BaseModel):
    """What the whole group scores under a model at `at`; None before its last fact."""

    model: str
    model_version: int
    value: float | None
    at: datetime
    counted: int
    last_fact_at: datetime


class DealOfCustomer(BaseModel):
    """A deal as it stands. `status` is open, won or lost; `title` is null where it was erased.

    `rotted_at` tells when it was found to stand in its stage for too long, until it moves.
    """

    deal_id: UUID
    customer_id: UUID
    title: str | None
    pipeline: str
    stage: str
    status: str
    amount: Decimal | None
    currency: str | None
    expected_close: date | None
    owner_id: UUID
    loss_reason: str | None
    rotted_at: datetime | None
    opened_at: datetime
    changed_at: datetime


class TimelineEntry(BaseModel):
    customer_id: UUID
    occurred_at: datetime
    event_id: UUID
    type: str
    title: str | None
    amount: Decimal | None
    currency: str | None
    detail: dict[str, Any]


class FreshnessTold(BaseModel):
    """How long the oldest event that the file may lack has been recorded."""

    age_seconds: float
    position: str | None
    stale: str | None


class CustomerFile(BaseModel):
    customer_id: UUID  # the survivor of the group
    profile: dict[str, Any]
    identifiers: list[KnownIdentifier]
    originals: list[Original]
    scores: list[ScoreNow]
    deals: list[DealOfCustomer]  # those opened last
    timeline: Page[TimelineEntry]
    freshness: FreshnessTold


@dataclass(frozen=True, slots=True)
class Files:
    """What the routes stand on."""

    pool: asyncpg.Pool
    clock: Callable[[], datetime]

    async def group(self, customer_id: UUID) -> Group:
        """Everyone who is one person with this customer; answers 404 where it is unknown."""
        group = await whole_group(self.pool, customer_id)
        if group is None:
            raise Problem(404, "customer-unknown", "Nobody is registered under this id.")
        return group

    async def page(
        self,
        group: Group,
        *,
        limit: int,
        before: tuple[datetime, UUID] | None = None,
        as_of: datetime | None = None,
    ) -> Page[TimelineEntry]:
        """The newest entries of the whole group."""
        found = await entries(
            self.pool, group.customer_ids, before=before, as_of=as_of, limit=limit + 1
        )
        shown = found[:limit]
        more = len(found) > limit
        last = (shown[-1].occurred_at, shown[-1].event_id) if more else None
        return Page[TimelineEntry](
            items=[_shown(entry) for entry in shown],
            next=None if last is None else write_cursor(Place, last),
        )


def customer_file_routes(files: Files) -> APIRouter:
    """Reads: scope people:read. The page is public and holds no data."""
    router = gated_router(prefix="/customers", tag="customer file")
    page = resources.files("contacts.customer_file").joinpath("file.html").read_text("utf-8")

    @router.get("/{customer_id}", dependencies=[READ])
    async def customer_file(
        customer_id: UUID,
        fresh: Annotated[Freshness, Depends(following(directory, timeline, scores, deals))],
        at: datetime | None = None,
    ) -> CustomerFile:
        """Profile, identifiers, scores at `at` (now), deals, and the newest of the timeline."""
        asked = _instant(at, "/at") or files.clock()
        group = await files.group(customer_id)
        return CustomerFile(
            customer_id=group.survivor.customer_id,
            profile=group.profile(),
            identifiers=[KnownIdentifier(**one) for one in identifiers_of(group.members)],
            originals=[
                Original(
                    customer_id=member.customer_id,
                    linked_into=member.linked_into,
                    link_reason=member.link_reason,
                    linked_at=member.linked_at,
                    registered_at=member.registered_at,
                )
                for member in group.members
            ],
            scores=[
                ScoreNow(
                    model=one.model,
                    model_version=one.model_version,
                    value=one.value,
                    at=asked,
                    counted=one.counted,
                    last_fact_at=one.last_fact_at,
                )
                for one in summed(await courses_of(files.pool, group.customer_ids), asked)
            ],
            deals=[_deal(row) for row in await deals_of(files.pool, group.customer_ids)],
            timeline=await files.page(group, limit=FIRST_ENTRIES),
            freshness=FreshnessTold(
                age_seconds=fresh.age_seconds,
                position=None if fresh.position is None else str(fresh.position),
                stale=fresh.stale,
            ),
        )

    @router.get(
        "/{customer_id}/timeline", dependencies=[READ, Depends(following(directory, timeline))]
    )
    async def customer_timeline(
        customer_id: UUID,
        paging: Paging,
        as_of: Annotated[
            datetime | None, Query(description="Only what had happened by then.")
        ] = None,
    ) -> Page[TimelineEntry]:
        """What happened with the customer and everyone linked, newest first."""
        return await files.page(
            await files.group(customer_id),
            limit=min(paging.limit, LARGEST_DETAIL_PAGE),
            before=read_cursor(Place, paging.cursor),
            as_of=_instant(as_of, "/as_of"),
        )

    @router.get("/{customer_id}/file.html", dependencies=[Depends(public())])
    async def customer_page(customer_id: UUID) -> HTMLResponse:  # noqa: ARG001  # checked
        """The file for a person to look at; the key is read from the address' fragment."""
        return HTMLResponse(page, headers=PAGE_HEADERS)

    return router


def _shown(entry: Entry) -> TimelineEntry:
    return TimelineEntry(
        customer_id=entry.customer_id,
        occurred_at=entry.occurred_at,
        event_id=entry.event_id,
        type=entry.type,
        title=entry.title,
        amount=entry.amount,
        currency=entry.currency,
        detail=entry.detail,
    )


def _deal(row: DealRow) -> DealOfCustomer:
    return DealOfCustomer(
        deal_id=row.deal_id,
        customer_id=row.customer_id,
        title=row.title,
        pipeline=row.pipeline,
        stage=row.stage,
        status=row.status,
        amount=row.amount,
        currency=row.currency,
        expected_close=row.expected_close,
        owner_id=row.owner_id,
        loss_reason=row.loss_reason,
        rotted_at=row.rotted_at,
        opened_at=row.opened_at,
        changed_at=row.changed_at,
    )


def _instant(at: datetime | None, pointer: str) -> datetime | None:
    """In UTC; without an offset it is meant so."""
    try:
        return at and (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except OverflowError:
        raise invalid_input("query", pointer, "is too far away") from None
