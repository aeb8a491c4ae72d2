"""An effect of the probe's numbers, and those who are told of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from crm_deciding.effects.effect import Effect, KeyedEffect
from crm_deciding.effects.intent import Mail, Message, Webhook, Withdrawal
from crm_deciding.effects.mail import MailChannel, MailServer
from crm_deciding.effects.sending import Later, Never, Sender
from crm_deciding.effects.webhook import Endpoint, WebhookChannel
from crm_projections.projector import Projector
from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.log.logged import LoggedEvent
from probe import Counted, Probe
from receiving import Calls, Mailbox
from summing import HeldLease, catch_up

TELLING = UUID("7d0b53c1-90a5-4a5b-8f0d-3f2d7b6a9e11")
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ADA, NOBODY, LEFT, BERND, BROKEN = (str(UUID(int=number)) for number in range(1, 6))


SAID: dict[int, tuple[Message | Withdrawal, ...]] = {
    1: (Webhook("back office", "probe.counted", {"number": 1}),),
    2: (Mail(ADA, "Two", "It was two."),),
    3: (Mail(NOBODY, "Three", "It was three."),),
    4: (Mail(ADA, "Four", "Once at most.", transactional=False),),
    5: (Mail(LEFT, "Five", "It was five."),),
    6: (Withdrawal(),),
    7: (Withdrawal(), Webhook("back office", "probe.counted", {"number": 7})),
    8: (Mail(BERND, "Eight", "It was eight."),),
    9: (Mail(BROKEN, "Nine", "It was nine."),),
}
"""What follows from a number; nothing from others, and 99 breaks."""


def telling() -> Effect:
    effect = Effect("telling", TELLING)

    @effect.on(Counted)
    def tell(entry: LoggedEvent[Any]) -> Iterable[Message | Withdrawal]:
        if entry.event.number == 99:
            raise ValueError("99 cannot be told")
        return SAID.get(entry.event.number, ())

    return effect


@dataclass
class Desk:
    """An effect, a sender, their receivers, and a clock that stands still."""

    probe: Probe
    calls: Calls
    mailbox: Mailbox
    client: httpx.AsyncClient
    now: datetime = field(default_factory=utc_now)

    def projector(self) -> Projector:
        return Projector(
            pool=self.probe.pool,
            log=self.probe.log,
            models=(),
            keyed=[KeyedEffect(self.probe.pool, telling())],
            lease=HeldLease(),
            wake=self.probe.wakeups.subscribe(),
            clock=utc_now,
        )

    def sender(self, owner: str = "one") -> Sender:
        server = MailServer("127.0.0.1", self.mailbox.port, "none", None, None, "kith@shop.test")
        endpoints = {"back office": Endpoint(self.calls.url, SECRET, inside=True)}
        channels = {
            "mail": MailChannel(server, address_of=address_of, clock=lambda: self.now),
            "webhook": WebhookChannel(endpoints, client=self.client, clock=lambda: self.now),
        }
        return Sender(
            pool=self.probe.pool, channels=channels, lease=HeldLease(), owner=owner,
            clock=lambda: self.now,
        )  # fmt: skip

    async def count(self, *numbers: int) -> None:
        """Each number is a fact, of a stream of its own."""
        await self.probe.count(new_id(), *numbers)
        await self.mean()

    async def add(self, stream_id: UUID, *numbers: int) -> None:
        """The numbers go on with one stream."""
        entries = await self.probe.log.load(stream_id, opens=False)
        stream = self.probe.stream(stream_id, len(entries), *numbers)
        await self.probe.log.append(streams=[stream])
        await self.mean()

    async def mean(self) -> None:
        await catch_up(self.projector())
        self.now = max(self.now, utc_now()) + timedelta(seconds=1)

    async def states(self) -> list[tuple[str, int]]:
        rows = await self.probe.pool.fetch("select state, attempts from intent order by meant_at")
        return [tuple(row) for row in rows]


async def address_of(member: str) -> str | Later | Never:
    if member == BROKEN:
        raise KeyError("a bug")
    known = {
        ADA: "ada@shop.test",
        BERND: "bernd@bücher.test",
        LEFT: Never("the member is deactivated"),
    }
    return known.get(member, Later("nobody knows the member yet"))
