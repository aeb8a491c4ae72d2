"""Deals rot: one that stands in its stage for longer than the pipeline allows needs a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm_deciding.decider import Timer
from crm_events.sales import DealRotted

from sales.deals.deal import Status

if TYPE_CHECKING:
    from datetime import datetime

    from sales.deals.deal import Deal
    from sales.deals.pipelines import Pipelines

ROT: Final = "rot"
"""The timer of a deal that stands in a stage."""


def timers(deal: Deal | None, pipelines: Pipelines) -> tuple[Timer, ...]:
    """One where the deal, if nobody moves it, will have stood in its stage for too long."""
    at = None if deal is None else _rots_at(deal, pipelines)
    return () if at is None else (Timer(ROT, at),)


def let_rot(deal: Deal, by: datetime, pipelines: Pipelines) -> tuple[DealRotted, ...]:
    """What follows by that instant; nothing where the deal has more time, or went on."""
    at = _rots_at(deal, pipelines)
    if at is None or at > by:
        return ()
    return (
        DealRotted(
            deal_id=deal.deal_id,
            customer_id=deal.customer_id,
            owner_id=deal.owner_id,
            pipeline=deal.pipeline,
            stage=deal.stage,
            since=deal.stage_since,
        ),
    )


def _rots_at(deal: Deal, pipelines: Pipelines) -> datetime | None:
    if deal.status is not Status.OPEN or deal.rotted:
        return None
    stage = pipelines.stage(deal.pipeline, deal.stage)
    if stage is None or stage.rots_after is None:
        return None
    return deal.stage_since + stage.rots_after
