"""Hand-over: the back office is told of deals that were won, so that it delivers and bills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from crm_deciding.effects.effect import Effect
from crm_deciding.effects.intent import Webhook
from crm_events.sales import DealWon

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
