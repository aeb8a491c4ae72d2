"""CHECK=1: the answers against the input, customer by customer."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from demo.deals import PIPELINE, Stage, board_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from demo.api import Api
    from demo.deals import Deal
    from demo.purchases import Purchase

RECOMPUTED: Final = 20
SCORES_ABOVE: Final = 0.01
AT_LEAST: Final = 100
RELATIVE: Final = 1e-9
SKEW_SECONDS: Final = 60.0
"""Times may differ from the input by what clock-skew correction added: how long a batch was
under way. A score recomputed from the input may differ by as much decay."""
THREADS: Final = 4


@dataclass
class Findings:
    """What was compared, and every difference in words."""

    compared: list[str] = field(default_factory=list[str])
    differences: list[str] = field(default_factory=list[str])

    def equal(self, what: str, found: object, expected: object) -> None:
        self.compared.append(f"{what}: {found}")
        if found != expected:
            self.differences.append(f"{what}: found {found}, expected {expected}")

    def true(self, what: str, holds: bool) -> None:  # noqa: FBT001  # what is asserted
        if not holds:
            self.differences.append(what)


def check(
    api: Api,
    purchases: Sequence[Purchase],
    deals: Sequence[Deal],
    board: Sequence[Mapping[str, Any]],
) -> Findings:
    """Counts, sums per customer, scores, explanations, the board; nothing kept aside or held."""
    findings = Findings()
    bought: dict[str, list[Purchase]] = defaultdict(list)
    for purchase in purchases:
        bought[purchase.customer].append(purchase)
    with ThreadPoolExecutor(THREADS) as pool:
        customer_ids = dict(zip(bought, pool.map(api.customer_id, bought), strict=True))
    _sums(findings, api, bought, customer_ids)
    _scores(
        findings,
        api,
        bought,
        Counter(one.customer for one in deals if one.status == "won"),
        customer_ids,
    )
    _board(findings, api, deals, board)
    findings.equal("quarantined, holding or stopped", _stuck(api), 0)
    return findings


def _stuck(api: Api) -> int:
    return int(
        sum(
            api.gauge(name)
            for name in (
                'kith_inbox_records_total{outcome="quarantined"',
                "kith_inbox_holding{",
                "kith_projection_stopped{",
            )
        )
    )


def _sums(
    findings: Findings,
    api: Api,
    bought: Mapping[str, Sequence[Purchase]],
    customer_ids: Mapping[str, str],
) -> None:
    rows = {row["customer_id"]: row for row in api.every_buyer()}
    findings.equal("customers", len(rows), len(bought))
    findings.equal(
        "purchases", sum(row["frequency"] for row in rows.values()),
        sum(len(theirs) for theirs in bought.values()),
    )  # fmt: skip
    findings.equal(
        "revenue", sum(Decimal(row["money"]) for row in rows.values()),
        sum(one.total for theirs in bought.values() for one in theirs),
    )  # fmt: skip
    wrong = [
        customer
        for customer, theirs in bought.items()
        if (row := rows.get(customer_ids[customer])) is None
        or row["frequency"] != len(theirs)
        or Decimal(row["money"]) != sum(one.total for one in theirs)
    ]
    findings.equal("customers whose sums differ", len(wrong), 0)


def _board(
    findings: Findings, api: Api, deals: Sequence[Deal], board: Sequence[Mapping[str, Any]]
) -> None:
    stages = api.pipeline(PIPELINE)["stages"]
    probabilities = {stage["name"]: Decimal(str(stage["probability"])) for stage in stages}
    expected = board_of(deals, probabilities)
    found = {
        stage["stage"]: Stage(
            stage["deals"],
            sum((Decimal(one["amount"]) for one in stage["sums"]), Decimal(0)),
            sum((Decimal(one["weighted"]) for one in stage["sums"]), Decimal(0)),
        )
        for stage in board
    }
    for name, stage in expected.items():
        findings.equal(f"stage {name}", found.pop(name, None), stage)
    findings.equal("stages that the oracle lacks", len(found), 0)


def _scores(
    findings: Findings,
    api: Api,
    bought: Mapping[str, Sequence[Purchase]],
    won: Mapping[str, int],
    customer_ids: Mapping[str, str],
) -> None:
    leaders = list(api.every_leader())
    findings.equal("customers with a score", len(leaders), len(bought))
    above = sum(leader["value"] > SCORES_ABOVE for leader in leaders)
    findings.true(f"{above} scores above {SCORES_ABOVE}, at least {AT_LEAST}", above >= AT_LEAST)
    findings.compared.append(f"scores above {SCORES_ABOVE}: {above}")
    ranked = [leader["value"] for leader in leaders]
    findings.true("leaders are in order", ranked == sorted(ranked, reverse=True))
    best = {leader["customer_id"] for leader in leaders[: RECOMPUTED // 2]}
    chosen = [customer for customer in bought if customer_ids[customer] in best]
    others = sorted(set(bought) - set(chosen))
    chosen += random.Random(1).sample(others, RECOMPUTED - len(chosen))  # noqa: S311  # a sample
    for customer in chosen:
        score = api.score(customer_ids[customer], explain=True, limit=10_000)
        _recompute(findings, customer, score, bought[customer], won[customer])
    findings.compared.append(f"scores recomputed from scratch: {len(chosen)}")


def _recompute(
    findings: Findings,
    customer: str,
    score: Mapping[str, Any],
    purchases: Sequence[Purchase],
    won: int,
) -> None:
    """Direct sums: from the times the explanation names, and from the input itself.

    When a deal was won is known from the explanation alone.
    """
    at = datetime.fromisoformat(score["at"])
    half_life = score["half_life_days"] * 86_400
    why = score["explanation"]
    listed = why["contributions"]

    def worth(weight: float, happened: datetime) -> float:
        return float(weight * 2 ** (-(at - happened).total_seconds() / half_life))

    stored = math.fsum(
        worth(one["weight"], datetime.fromisoformat(one["occurred_at"])) for one in listed
    )
    paid = [one for one in listed if one["kind"] == "purchase"]
    deals = [one for one in listed if one["kind"] == "deal-won"]
    weight = paid[0]["weight"] if paid else 0.0
    given = math.fsum(worth(weight, purchase.at) for purchase in purchases) + math.fsum(
        worth(one["weight"], datetime.fromisoformat(one["occurred_at"])) for one in deals
    )
    parts = math.fsum(one["value"] for one in listed)
    close = {
        "parts": math.isclose(parts, score["value"], rel_tol=RELATIVE),
        "direct sum": math.isclose(stored, score["value"], rel_tol=RELATIVE),
        "input": math.isclose(
            given, score["value"], rel_tol=math.log(2) * SKEW_SECONDS / half_life
        ),
        "purchases": len(paid) == len(purchases),
        "deals that were won": len(deals) == won and len(listed) == len(paid) + won,
    }
    failed = [name for name, holds in close.items() if not holds]
    findings.true(f"score of {customer}: {', '.join(failed)} differ", not failed)
