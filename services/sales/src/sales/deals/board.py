"""The board of a pipeline: what is open in each stage, and what it may bring in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    import asyncpg

    from sales.deals.pipelines import Pipeline

# A stage that the pipeline has no more has no probability, so nothing weighted.
BOARD: Final = """
select d.stage, d.currency, count(*) as deals, sum(d.amount) as amount,
       sum(d.amount * s.probability) as weighted,
       count(d.rotted_at) as rotted, min(d.stage_since) as longest_since
from deal d
left join unnest($2::text[], $3::numeric[]) as s(stage, probability) on s.stage = d.stage
where d.pipeline = $1 and d.status = 'open'
group by d.stage, d.currency
order by d.stage, d.currency
"""


@dataclass(frozen=True, slots=True)
class Sum:
    """Open deals in one stage and currency. `weighted`: each amount by its chance to come in."""

    currency: str
    amount: Decimal
    weighted: Decimal | None  # None: nobody knows the chance


@dataclass(frozen=True, slots=True)
class Column:
    """One stage. `deals` and `rotted` count those without an amount too.

    `longest_since`: when the deal that has stood there longest came; None: there is none.
    """

    stage: str
    probability: Decimal | None
    deals: int
    rotted: int
    longest_since: datetime | None
    sums: tuple[Sum, ...]


async def read_board(pool: asyncpg.Pool, pipeline: Pipeline) -> list[Column]:
    """Every stage in order, then those that still hold deals and that the pipeline has no more."""
    stages = {stage.name: stage for stage in pipeline.stages}
    rows = await pool.fetch(
        BOARD,
        pipeline.name,
        list(stages),
        [stage.probability for stage in stages.values()],
    )
    return [
        _column(name, stages[name].probability if name in stages else None, rows)
        for name in dict.fromkeys([*stages, *(row["stage"] for row in rows)])
    ]


def _column(name: str, probability: Decimal | None, rows: list[asyncpg.Record]) -> Column:
    own = [row for row in rows if row["stage"] == name]
    return Column(
        stage=name,
        probability=probability,
        deals=sum(row["deals"] for row in own),
        rotted=sum(row["rotted"] for row in own),
        longest_since=min((row["longest_since"] for row in own), default=None),
        sums=tuple(
            Sum(row["currency"], row["amount"], row["weighted"])
            for row in own
            if row["currency"] is not None
        ),
    )
