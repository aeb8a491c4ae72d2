"""Deals with the customers of the history: opened, moved and closed over HTTP; and an oracle.

What becomes of a deal follows from its number alone, so every run has the same board. The oracle
does to values in memory what the commands ask sales to do.
"""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from demo.api import Api
    from demo.purchases import Purchase

DEALS: Final = 300
PIPELINE: Final = "sales"
CURRENCY: Final = "USD"
STAGES: Final = ("qualified", "needs-known", "proposal", "negotiation", "commitment")
FIRST, SECOND, LAST = STAGES[0], STAGES[1], STAGES[-1]
OWNERS: Final = tuple(uuid5(UUID(int=0), f"owner {number}") for number in range(4))
AT_ONCE: Final = 4
BULK: Final = 100
KNOWN_WITHIN_SECONDS: Final = 60.0
ASK_AGAIN_SECONDS: Final = 0.1


class SalesError(Exception):
    """sales refused what the demo asked, or does not hear of a customer."""


@dataclass
class Deal:
    """One deal as the oracle has it."""

    number: int
    customer: str  # as the history names it
    amount: Decimal
    stage: str = FIRST
    status: str = "open"
    products: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    deal_id: str = ""

    @property
    def reaches(self) -> int:
        """The number of the stage that it comes to."""
        return self.number // 10 % len(STAGES)

    @property
    def owner_id(self) -> str:
        return str(OWNERS[self.number % len(OWNERS)])

    def price(self) -> None:
        if self.products:
            self.amount = sum(self.products.values(), Decimal(0))


@dataclass(frozen=True, slots=True)
class Stage:
    """What is open in a stage."""

    deals: int
    amount: Decimal
    weighted: Decimal

    def __str__(self) -> str:
        return f"{self.deals} deals, {self.amount:.2f}, weighted {self.weighted:.2f}"


def deals_with(purchases: Iterable[Purchase]) -> list[Deal]:
    """300 deals, each with another customer, for ten times what they have spent so far."""
    spent: dict[str, Decimal] = defaultdict(Decimal)
    for purchase in purchases:
        spent[purchase.customer] += purchase.total
    chosen = sorted(customer for customer in spent if spent[customer] > 0)[:DEALS]
    return [Deal(number, one, 10 * spent[one]) for number, one in enumerate(chosen)]


def work(api: Api, deals: Sequence[Deal], *, today: date) -> str:
    """Take every deal as far as it comes; the position at which a read shows it all.

    Raises:
        SalesError: sales refused something.
    """
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda deal: _open(api, deal), deals))
        _move_on(api, [deal for deal in deals if deal.reaches >= 1])
        positions = list(threads.map(lambda deal: _advance(api, deal, today), deals))
    return max(positions, key=lambda position: [int(part) for part in position.split(".")])


def board_of(deals: Iterable[Deal], probabilities: Mapping[str, Decimal]) -> dict[str, Stage]:
    """The board as the oracle has it, stage by stage."""
    board: dict[str, Stage] = {}
    still = [deal for deal in deals if deal.status == "open"]
    for stage in STAGES:
        amounts = [deal.amount for deal in still if deal.stage == stage]
        amount = sum(amounts, Decimal(0))
        board[stage] = Stage(len(amounts), amount, amount * probabilities[stage])
    return board


def _open(api: Api, deal: Deal) -> None:
    body = {
        "customer_id": api.customer_id(deal.customer),
        "pipeline": PIPELINE,
        "title": f"Records for {deal.customer}",
        "owner_id": deal.owner_id,
        "amount": _money(deal.amount),
    }
    deadline = time.monotonic() + KNOWN_WITHIN_SECONDS
    while (answer := api.command("POST", "/deals", body)).status_code == 409:  # noqa: PLR2004
        if time.monotonic() > deadline or not answer.json()["type"].endswith("customer-unknown"):
            raise SalesError(answer.text)
        time.sleep(ASK_AGAIN_SECONDS)  # noqa: TID251  # contacts tells sales of them by and by
    if answer.is_error:
        raise SalesError(answer.text)
    deal.deal_id = answer.json()["stream_id"]


def _move_on(api: Api, deals: Sequence[Deal]) -> None:
    """All of them to the second stage, a hundred in a call."""
    for begin in range(0, len(deals), BULK):
        some = deals[begin : begin + BULK]
        items = [{"deal_id": deal.deal_id, "stage": SECOND} for deal in some]
        answer = api.command("POST", "/deals/bulk/stage", {"items": items}).json()
        if failed := [one for one in answer["items"] if one["status"] != 200]:  # noqa: PLR2004
            raise SalesError(f"{len(failed)} deals were not moved: {failed[0]}")
        for deal in some:
            deal.stage = SECOND


def _advance(api: Api, deal: Deal, today: date) -> str:
    """One deal by its number: what it is worth, who works on it, how far it comes, how it ends."""

    def do(what: str, body: Mapping[str, Any] | None = None, *, method: str = "POST") -> str:
        answer = api.command(method, f"/deals/{deal.deal_id}/{what}", body)
        if answer.is_error:
            raise SalesError(f"deal {deal.number}, {what}: {answer.text}")
        return str(answer.json()["position"])

    number = deal.number
    closes = (today + timedelta(days=number % 90)).isoformat()
    position = do("expected-close", {"expected_close": closes})
    if number % 7 == 0:
        position = do("owner", {"owner_id": str(OWNERS[(number + 1) % len(OWNERS)])})
    if number % 3 == 0 or deal.reaches == STAGES.index(LAST):
        lines = {"cd": (number % 40 + 1, Decimal("14.95")), "shelf": (1, Decimal("49.90"))}
        products = [_product(name, count, price) for name, (count, price) in lines.items()]
        position = do("products", {"products": products})
        deal.products = {name: count * price for name, (count, price) in lines.items()}
        if number % 2:
            position = do("products/shelf", method="DELETE")
            del deal.products["shelf"]
        deal.price()
    elif number % 4 == 1:
        deal.amount += 100
        position = do("amount", {"amount": _money(deal.amount)})
    for stage in STAGES[2 : deal.reaches + 1]:
        position = do("stage", {"stage": stage})
        deal.stage = stage
    return _close(deal, do) or position


def _close(deal: Deal, do: Callable[[str, Mapping[str, Any]], str]) -> str | None:
    """Of ten deals two are won and two lost; of the lost, every other one is taken up again."""
    position = None
    match deal.number % 10:
        case 0 | 1:
            position, deal.status = do("won", {}), "won"
        case 2 | 3:
            position, deal.status = do("lost", {"reason": "price"}), "lost"
            if deal.number % 20 in {2, 3}:
                position, deal.status = do("reopened", {"stage": FIRST}), "open"
                deal.stage = FIRST
    return position


def _product(name: str, count: int, price: Decimal) -> dict[str, Any]:
    return {"product_id": name, "quantity": str(count), "unit_price": _money(price)}


def _money(amount: Decimal) -> dict[str, str]:
    return {"amount": str(amount), "currency": CURRENCY}
