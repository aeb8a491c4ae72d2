"""Deals and boards over HTTP."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.instants import EARLIEST, LATEST, Instant
from crm_chassis.http.pages import Page, Paging, read_cursor, write_cursor
from crm_chassis.http.problems import Problem, invalid_input
from crm_chassis.http.reads import following
from crm_chassis.http.terms import etag
from crm_events.money import Money
from crm_store.clock import Clock
from crm_store.log.append import Log
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sales.accounts.directory import GroupTooLargeError, accounts, group_of, names_of
from sales.deals.board import Column, read_board
from sales.deals.bodies import Day
from sales.deals.deal import Status
from sales.deals.listing import Wanted, read_deal, read_page
from sales.deals.pipeline import DealRow, deal_as_of, pipeline
from sales.deals.pipelines import Name, Pipeline, Pipelines

READ: Final = Depends(requires("deals:read"))
CHANCE_OF_CLOSED: Final = {Status.WON: Decimal(1), Status.LOST: Decimal(0)}
LONGEST_INSTANT: Final = 64
INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(Instant)
DAY: Final[TypeAdapter[date]] = TypeAdapter(
    Annotated[Day, Field(ge=EARLIEST.date(), le=LATEST.date())]
)
PLACE: Final[TypeAdapter[tuple[datetime, UUID]]] = TypeAdapter(tuple[datetime, UUID])


class ProductOnDeal(BaseModel):
    model_config = ConfigDict(frozen=True)

    product_id: str
    quantity: Decimal
    unit_price: Money
    amount: Money


class DealAnswer(BaseModel):
    """A deal. `version` is what `If-Match` takes; `title` is null where it was erased."""

    model_config = ConfigDict(frozen=True)

    deal_id: UUID
    version: int
    customer_id: UUID
    customer_name: str | None  # as it is now
    title: str | None
    pipeline: str
    stage: str
    stage_since: datetime
    days_in_stage: int | None  # whole ones; None: it is closed
    rotted: bool  # it was found to stand there for longer than the pipeline allows
    status: Status
    probability: Decimal | None  # None: the pipeline has no such stage any more
    amount: Money | None
    expected_close: date | None
    owner_id: UUID
    products: list[ProductOnDeal]
    opened_at: datetime
    closed_at: datetime | None
    won_on: date | None
    loss_reason: str | None
    loss_note: str | None


class StageSum(BaseModel):
    model_config = ConfigDict(frozen=True)

    currency: str
    amount: Decimal
    weighted: Decimal | None


class BoardStage(BaseModel):
    """What is open in a stage. Deals without an amount are counted, and in no sum."""

    model_config = ConfigDict(frozen=True)

    stage: str
    probability: Decimal | None  # None: the pipeline has no such stage any more
    deals: int
    rotted: int
    longest_days: int | None  # of the one that has stood there longest; None: there is none
    sums: list[StageSum]


class Board(BaseModel):
    model_config = ConfigDict(frozen=True)

    pipeline: str
    at: datetime
    stages: list[BoardStage]


@dataclass(frozen=True, slots=True)
class Reads:
    """What the routes stand on."""

    pool: asyncpg.Pool
    log: Log
    pipelines: Pipelines
    clock: Clock
    time_zone: tzinfo

    async def answer(self, row: DealRow, at: datetime) -> DealAnswer:
        [answer] = await self.answers([row], at)
        return answer

    async def answers(self, rows: list[DealRow], at: datetime) -> list[DealAnswer]:
        names = await names_of(self.pool, {row.customer_id for row in rows})
        return [
            DealAnswer(
                deal_id=row.deal_id,
                version=row.version,
                customer_id=row.customer_id,
                customer_name=names.get(row.customer_id),
                title=row.title,
                pipeline=row.pipeline,
                stage=row.stage,
                stage_since=row.stage_since,
                rotted=row.rotted_at is not None,
                status=Status(row.status),
                amount=_money(row),
                expected_close=row.expected_close,
                owner_id=row.owner_id,
                products=[ProductOnDeal(**product) for product in row.products],
                opened_at=row.opened_at,
                closed_at=row.closed_at,
                won_on=row.won_on,
                loss_reason=row.loss_reason,
                loss_note=row.loss_note,
                **self._of_stage(row, at),
            )
            for row in rows
        ]

    async def group(self, customer_id: UUID) -> list[UUID]:
        """Everyone who is one person with this customer; answers 422 where they are too many."""
        try:
            return await group_of(self.pool, customer_id)
        except GroupTooLargeError as too_large:
            raise Problem(422, "group-too-large", str(too_large)) from None

    def named(self, name: str) -> Pipeline:
        """The pipeline of this name; answers 404 where there is none."""
        found = self.pipelines.pipeline(name)
        if found is None:
            raise Problem(404, "pipeline-unknown", "There is no pipeline of this name.")
        return found

    def _of_stage(self, row: DealRow, at: datetime) -> dict[str, Any]:
        status = Status(row.status)
        if status is not Status.OPEN:
            return {"probability": CHANCE_OF_CLOSED[status], "days_in_stage": None}
        stage = self.pipelines.stage(row.pipeline, row.stage)
        return {
            "probability": None if stage is None else stage.probability,
            "days_in_stage": _days(row.stage_since, at),
        }


def reads_routes(reads: Reads) -> APIRouter:
    """Reads: scope deals:read."""
    router = APIRouter(tags=["deals"])
    following_deals = Depends(following(pipeline, accounts))

    @router.get("/deals", dependencies=[READ, following_deals])
    async def list_deals(  # noqa: PLR0913  # each of them narrows the list
        paging: Paging,
        *,
        pipeline: Name | None = None,
        stage: Name | None = None,
        status: Status | None = None,
        owner_id: UUID | None = None,
        rotted: Annotated[
            bool | None, Query(description="Have they stood in their stage for too long?")
        ] = None,
        customer_id: Annotated[
            UUID | None, Query(description="Deals of everyone who is one person with them.")
        ] = None,
    ) -> Page[DealAnswer]:
        """The deals that were opened last, those that all of the parameters fit."""
        before = read_cursor(PLACE, paging.cursor)
        members = None if customer_id is None else await reads.group(customer_id)
        wanted = Wanted(pipeline, stage, status, owner_id, members, rotted)
        rows = await read_page(reads.pool, wanted, before=before, limit=paging.limit)
        full = len(rows) == paging.limit
        return Page[DealAnswer](
            items=await reads.answers(rows, reads.clock()),
            next=write_cursor(PLACE, (rows[-1].opened_at, rows[-1].deal_id)) if full else None,
        )

    @router.get("/deals/{deal_id}", dependencies=[READ, following_deals])
    async def one_deal(
        deal_id: UUID,
        response: Response,
        as_of: Annotated[
            str | None,
            Query(
                max_length=LONGEST_INSTANT,
                description="An instant with its offset, or a day: as it was then, or when the day"
                " ended where the company is. The customer's name is today's.",
            ),
        ] = None,
    ) -> DealAnswer:
        """A deal, as it is or as it was."""
        then = None if as_of is None else _then(as_of, reads.time_zone)
        if then is None:
            row = await read_deal(reads.pool, deal_id)
        else:
            row = deal_as_of(await reads.log.load(deal_id, opens=True), then)
        if row is None:
            raise Problem(404, "deal-unknown", "There is no deal under this id, or was none then.")
        response.headers["ETag"] = etag(row.version)
        return await reads.answer(row, then or reads.clock())

    _add_pipelines(router, reads)
    return router


def _then(as_of: str, time_zone: tzinfo) -> datetime:
    try:
        if len(as_of) > len("2026-05-31"):
            return INSTANT.validate_python(as_of)
        day = DAY.validate_python(as_of)
    except ValueError:
        told = f"is an instant with its offset, or a day, from {EARLIEST.year} to {LATEST.year}"
        raise invalid_input("query", "/as_of", told) from None
    next_day = datetime.combine(day + timedelta(days=1), time.min, time_zone)
    return next_day - timedelta(microseconds=1)


def _add_pipelines(router: APIRouter, reads: Reads) -> None:
    @router.get("/pipelines", dependencies=[READ])
    async def list_pipelines() -> list[Pipeline]:
        """The pipelines as data: stages, what they require, and why deals are lost."""
        return list(reads.pipelines.pipelines)

    @router.get("/pipelines/{name}/board", dependencies=[READ, Depends(following(pipeline))])
    async def board(name: Name) -> Board:
        """What is open in each stage of a pipeline: how many, what sums, and how likely."""
        at = reads.clock()
        columns = await read_board(reads.pool, reads.named(name))
        return Board(pipeline=name, at=at, stages=[_stage(column, at) for column in columns])


def _stage(column: Column, at: datetime) -> BoardStage:
    since = column.longest_since
    return BoardStage(
        stage=column.stage,
        probability=column.probability,
        deals=column.deals,
        rotted=column.rotted,
        longest_days=None if since is None else _days(since, at),
        sums=[
            StageSum(currency=one.currency, amount=one.amount, weighted=one.weighted)
            for one in column.sums
        ],
    )


def _days(since: datetime, at: datetime) -> int:
    """Whole days; none where the clocks of two processes differ."""
    return max(0, (at - since).days)


def _money(row: DealRow) -> Money | None:
    if row.amount is None or row.currency is None:
        return None
    return Money(amount=row.amount, currency=row.currency)
