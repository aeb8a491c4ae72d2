"""Hand-over: the back office is told of deals that were won, and of those that are open again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from crm_deciding.effects.effect import Effect
from crm_deciding.effects.intent import Webhook, Withdrawal
from crm_events.sales import DealReopened, DealWon

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crm_deciding.effects.intent import Message
    from crm_store.log.logged import LoggedEvent

BACK_OFFICE: Final = "back-office"
"""The endpoint, as the settings name it."""

hand_over: Final = Effect("hand-over", UUID("b7c5a9f2-6f0d-5a42-9d1e-0c6f6a5b7e31"))


@hand_over.on(DealWon)
def tell_back_office(logged: LoggedEvent[DealWon]) -> Iterable[Message]:
    """Nothing of it is personal: whom it is for the back office asks contacts."""
    told = logged.event.model_dump(mode="json")
    return [Webhook(BACK_OFFICE, logged.type, {**told, "won_at": logged.occurred_at.isoformat()})]


@hand_over.on(DealReopened)
def take_back(logged: LoggedEvent[DealReopened]) -> Iterable[Message | Withdrawal]:
    """What has not gone is kept back; whether it had gone nobody knows here, so it is told."""
    event = logged.event
    told = {
        "deal_id": str(event.deal_id),
        "customer_id": str(event.customer_id),
        "reopened_at": logged.occurred_at.isoformat(),
    }
    return [Withdrawal(), Webhook(BACK_OFFICE, logged.type, told)]
