"""The board of a pipeline: what is open in each stage, and what it may bring in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
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
       count(*) filter (where d.stage_since < s.rots_before) as rotting
from deal d
left join unnest($2::text[], $3::numeric[], $4::timestamptz[])
    as s(stage, probability, rots_before) on s.stage = d.stage
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
    """One stage. `deals` and `rotting` count those without an amount too."""

    stage: str
    probability: Decimal | None
    deals: int
    rotting: int
    sums: tuple[Sum, ...]


async def read_board(pool: asyncpg.Pool, pipeline: Pipeline, at: datetime) -> list[Column]:
    """Every stage in order, then those that still hold deals and that the pipeline has no more."""
    stages = {stage.name: stage for stage in pipeline.stages}
    rows = await pool.fetch(
        BOARD,
        pipeline.name,
        list(stages),
        [stage.probability for stage in stages.values()],
        [
            None if stage.rotting_days is None else at - timedelta(days=stage.rotting_days)
            for stage in stages.values()
        ],
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
        rotting=sum(row["rotting"] for row in own),
        sums=tuple(
            Sum(row["currency"], row["amount"], row["weighted"])
            for row in own
            if row["currency"] is not None
        ),
    )
