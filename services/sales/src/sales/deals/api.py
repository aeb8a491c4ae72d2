"""Commands about deals over HTTP."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.bodies import gated_router
from crm_chassis.http.bulk import BulkAnswer, one_by_one
from crm_chassis.http.handling import Handler
from crm_chassis.http.problems import Problem, request_urn
from crm_chassis.http.reads import Receipt
from crm_chassis.http.terms import CommandTerms, Terms, TermsOfSeveral
from fastapi import APIRouter, Depends, Path, Response

from sales.accounts.directory import is_known
from sales.deals.bodies import (
    PRODUCT_ID,
    AmountChange,
    BulkMove,
    BulkMoves,
    CloseChange,
    Loss,
    Move,
    Opening,
    Owner,
    Products,
    Reopening,
    Win,
)
from sales.deals.commands import (
    AddProducts,
    ChangeAmount,
    ChangeExpectedClose,
    DealCommand,
    LoseDeal,
    MoveDeal,
    OpenDeal,
    ReassignDeal,
    RemoveProduct,
    ReopenDeal,
    WinDeal,
)
from sales.deals.deal import Deal

WRITE = Depends(requires("deals:write"))
ProductId = Annotated[str, Path(pattern=PRODUCT_ID)]


@dataclass(frozen=True, slots=True)
class Deals:
    """What the routes stand on."""

    handler: Handler[DealCommand, Deal | None]
    pool: asyncpg.Pool
    mint_id: Callable[[], UUID]
    today: Callable[[], date]

    async def open(self, body: Opening, terms: CommandTerms, response: Response) -> Receipt:
        """Open a deal. Answers 409 for a customer that contacts has not told of."""
        if not await is_known(self.pool, body.customer_id):
            detail = "contacts has not told of this customer; of a new one it may in a moment."
            raise Problem(409, "customer-unknown", detail)
        command = OpenDeal(
            deal_id=self.mint_id(),
            customer_id=body.customer_id,
            pipeline=body.pipeline,
            title=body.title,
            owner_id=body.owner_id,
            stage=body.stage,
            amount=None if body.amount is None else body.amount.money(),
            expected_close=body.expected_close,
        )
        return await self.handler.answer(command.deal_id, command, terms, response)


def deals_routes(deals: Deals) -> APIRouter:
    """Commands: scope deals:write."""
    router = gated_router(prefix="/deals", tag="deals")

    @router.post("", status_code=201, dependencies=[WRITE])
    async def open_deal(body: Opening, response: Response, terms: Terms) -> Receipt:
        """Open a deal with a customer; `stream_id` is the deal's id."""
        return await deals.open(body, terms, response)

    @router.post("/bulk/stage", dependencies=[WRITE])  # before /{deal_id}/stage, which it matches
    async def move_deals(body: BulkMoves, terms: TermsOfSeveral) -> BulkAnswer[Receipt]:
        """Move up to 100 deals, in order; each is answered as if it had come alone."""

        async def move(number: int, one: BulkMove) -> Receipt:
            of_item = terms.item(number, if_match=one.if_match)
            return await deals.handler.handle(one.deal_id, MoveDeal(one.stage), of_item)

        instance = request_urn(terms.request_id)
        return await one_by_one(body.items, move, status=200, instance=instance)

    _add_changes(router, deals)
    _add_ends(router, deals)
    return router


def _add_changes(router: APIRouter, deals: Deals) -> None:
    @router.post("/{deal_id}/stage", dependencies=[WRITE])
    async def move_deal(deal_id: UUID, body: Move, response: Response, terms: Terms) -> Receipt:
        """Move the deal to another stage of its pipeline, if it has what the stage requires."""
        return await deals.handler.answer(deal_id, MoveDeal(body.stage), terms, response)

    @router.post("/{deal_id}/amount", dependencies=[WRITE])
    async def change_amount(
        deal_id: UUID, body: AmountChange, response: Response, terms: Terms
    ) -> Receipt:
        """Say what the deal may bring in; of one with products it is their sum."""
        amount = None if body.amount is None else body.amount.money()
        return await deals.handler.answer(deal_id, ChangeAmount(amount), terms, response)

    @router.post("/{deal_id}/expected-close", dependencies=[WRITE])
    async def change_expected_close(
        deal_id: UUID, body: CloseChange, response: Response, terms: Terms
    ) -> Receipt:
        """Say on which day the deal is expected to be won."""
        command = ChangeExpectedClose(body.expected_close)
        return await deals.handler.answer(deal_id, command, terms, response)

    @router.post("/{deal_id}/products", dependencies=[WRITE])
    async def add_products(
        deal_id: UUID, body: Products, response: Response, terms: Terms
    ) -> Receipt:
        """Put products on the deal; one that is there takes its new line."""
        command = AddProducts(tuple(product.line() for product in body.products))
        return await deals.handler.answer(deal_id, command, terms, response)

    @router.delete("/{deal_id}/products/{product_id}", dependencies=[WRITE])
    async def remove_product(
        deal_id: UUID, product_id: ProductId, response: Response, terms: Terms
    ) -> Receipt:
        """Take a product off the deal."""
        return await deals.handler.answer(deal_id, RemoveProduct(product_id), terms, response)

    @router.post("/{deal_id}/owner", dependencies=[WRITE])
    async def reassign_deal(
        deal_id: UUID, body: Owner, response: Response, terms: Terms
    ) -> Receipt:
        """Let somebody else work on the deal, open or closed."""
        return await deals.handler.answer(deal_id, ReassignDeal(body.owner_id), terms, response)


def _add_ends(router: APIRouter, deals: Deals) -> None:
    @router.post("/{deal_id}/won", dependencies=[WRITE])
    async def win_deal(deal_id: UUID, body: Win, response: Response, terms: Terms) -> Receipt:
        """The customer bought."""
        amount = None if body.amount is None else body.amount.money()
        command = WinDeal(body.won_on or deals.today(), amount)
        return await deals.handler.answer(deal_id, command, terms, response)

    @router.post("/{deal_id}/lost", dependencies=[WRITE])
    async def lose_deal(deal_id: UUID, body: Loss, response: Response, terms: Terms) -> Receipt:
        """The customer did not buy, for a reason of the pipeline."""
        return await deals.handler.answer(
            deal_id, LoseDeal(body.reason, body.note), terms, response
        )

    @router.post("/{deal_id}/reopened", dependencies=[WRITE])
    async def reopen_deal(
        deal_id: UUID, body: Reopening, response: Response, terms: Terms
    ) -> Receipt:
        """Work on a deal that was won or lost again."""
        return await deals.handler.answer(deal_id, ReopenDeal(body.stage), terms, response)
