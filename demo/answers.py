"""The answers as a terminal shows them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from demo.api import Api
    from demo.deals import Deal

LEADERS: Final = 10
BAR: Final = 40
MONTH: Final = timedelta(days=30)
MONTHS: Final = 18


def show_leaders(console: Console, api: Api) -> list[dict[str, Any]]:
    """The ten best customers, and what made them so."""
    leaders = api.leaders(LEADERS)
    table = Table(title="The ten best customers, and why", box=box.SIMPLE, title_justify="left")
    table.add_column("")
    table.add_column("customer", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("made of")
    for rank, leader in enumerate(leaders, start=1):
        score = api.score(leader["customer_id"], explain=True, group_by="month", limit=0)
        groups = score["explanation"]["groups"]
        best = sorted(groups, key=lambda part: part["value"], reverse=True)[:2]
        months = ", ".join(f"{one['value']:.1f} by {one['name']}" for one in best)
        made_of = f"{score['counted']} purchases: {months}"
        table.add_row(str(rank), api.user(leader["customer_id"]), f"{score['value']:.2f}", made_of)
    console.print(table)
    return leaders


def show_explanation(console: Console, api: Api, customer_id: str) -> None:
    """One score event by event; the parts add up to it."""
    score = api.score(customer_id, explain=True, limit=5)
    why = score["explanation"]
    title = f"Why customer {api.user(customer_id)} scores {score['value']:.6f}"
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for heading in ("when", "what", "weighed", "is worth now", "share"):
        table.add_column(heading, justify="left" if heading in {"when", "what"} else "right")
    for part in why["contributions"]:
        table.add_row(
            part["occurred_at"][:10],
            part["kind"],
            f"{part['weight']:g}",
            f"{part['value']:.6f}",
            f"{part['share']:.1%}",
        )
    rest = why["rest"]
    table.add_row("", f"{rest['facts']} older ones", "", f"{rest['value']:.6f}", "")
    table.add_row("", "[bold]all together", "", f"[bold]{why['value']:.6f}", "")
    console.print(table)


def show_file(console: Console, api: Api, customer_id: str) -> None:
    """The customer file: who, what score, what happened last."""
    file = api.customer_file(customer_id)
    known = ", ".join(f"{one['namespace']} {one['value']}" for one in file["identifiers"])
    scores = ", ".join(f"{one['model']} {one['value']:.4f}" for one in file["scores"])
    title = f"The file of {customer_id} ({known}; {scores})"
    console.print(f"  [italic]{title}", soft_wrap=True)
    table = Table(box=box.SIMPLE)
    for heading in ("when", "what", "amount"):
        table.add_column(heading, justify="right" if heading == "amount" else "left")
    for entry in file["timeline"]["items"][:6]:
        amount = "" if entry["amount"] is None else f"{entry['amount']} {entry['currency']}"
        what = f"{entry['type'].split('.', 1)[1].replace('.', ' ')} {entry['title'] or ''}"
        table.add_row(entry["occurred_at"][:10], what, amount)
    console.print(table)


def show_course(console: Console, api: Api, customer_id: str, now: datetime) -> None:
    """One score through time, month by month."""
    points = api.course(
        customer_id,
        **{"from": (now - MONTHS * MONTH).isoformat(), "to": now.isoformat(), "step": "P30D"},
    )
    most = max(point["value"] for point in points) or 1.0
    console.print(f"  [italic]The score of customer {api.user(customer_id)} through time")
    for point in points:
        bar = "█" * round(BAR * point["value"] / most)
        console.print(f"  {point['at'][:10]}  {point['value']:9.4f}  {bar}")
    console.print()


def show_board(console: Console, board: Sequence[Mapping[str, Any]], deals: Sequence[Deal]) -> None:
    """What is open in each stage, what it may bring in, and how much of that is likely."""
    table = Table(title="The board of open deals", box=box.SIMPLE, title_justify="left")
    table.add_column("stage")
    for heading in ("deals", "sum", "weighted sum"):
        table.add_column(heading, justify="right")
    amounts, weights = Decimal(0), Decimal(0)
    for stage in board:
        amount = sum((Decimal(one["amount"]) for one in stage["sums"]), Decimal(0))
        weighted = sum((Decimal(one["weighted"]) for one in stage["sums"]), Decimal(0))
        amounts, weights = amounts + amount, weights + weighted
        table.add_row(stage["stage"], str(stage["deals"]), f"{amount:,.2f}", f"{weighted:,.2f}")
    count = str(sum(stage["deals"] for stage in board))
    table.add_row("[bold]all together", count, f"{amounts:,.2f}", f"{weights:,.2f}")
    console.print(table)
    won = sum(deal.status == "won" for deal in deals)
    lost = sum(deal.status == "lost" for deal in deals)
    console.print(f"  {won} others were won and {lost} lost, of {len(deals)}.\n")
