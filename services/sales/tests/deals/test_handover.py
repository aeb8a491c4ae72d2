"""A deal that is won is told to the back office, once and signed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from crm_deciding.effects.sending import Sender
from pydantic import SecretStr
from receiving import http_receiver
from sales.bootstrap import channels_of, following_of
from standardwebhooks.webhooks import Webhook
from summing import HeldLease
from told import SECRET


@pytest.fixture
def calls():
    with http_receiver() as receiver:
        yield receiver


@dataclass
class Hook:
    """Sales with a back office that may be away, and those that tell it."""

    sales: Any
    settings: Any
    lease: Any = field(default_factory=HeldLease)

    async def follow(self):
        following = following_of(self.settings, self.sales.core, self.lease)
        while await following.turn():
            pass

    async def send(self):
        """Whatever is due in 200 years."""
        self.sales.now[0] += timedelta(days=365 * 200)
        async with httpx.AsyncClient() as client:
            channels = channels_of(self.settings, self.sales.core, client)
            sender = Sender(
                pool=self.sales.pool, channels=channels, lease=self.lease, owner="one",
                clock=self.sales.core.clock,
            )  # fmt: skip
            await sender.turn()
            await sender.turn()


@pytest.fixture
async def hook(sales, calls):
    settings = sales.settings.model_copy(
        update={
            "back_office_url": calls.url,
            "back_office_secret": SecretStr(SECRET),
            "back_office_inside": True,
        }
    )
    hook = Hook(sales, settings)
    await hook.follow()
    return hook


WON = {"won_on": "2026-05-04", "amount": {"amount": "1200.50", "currency": "EUR"}}


async def test_the_back_office_is_told_of_a_deal_that_was_won(hook, calls):
    sales = hook.sales
    customer = await sales.customer()
    lost, won = await sales.open(customer), await sales.open(customer)
    await sales.http.post(f"{lost}/lost", json={"reason": "price"})

    await sales.http.post(f"{won}/won", json=WON)
    await hook.follow()
    await hook.send()

    [(headers, body)] = calls.came
    assert (
        Webhook(SECRET).sign(headers["webhook-id"], sales.now[0], body.decode())
        == (headers["webhook-signature"])
    )
    told = httpx.Response(200, content=body).json()
    assert told["type"] == "sales.deal.won"
    assert (told["data"]["customer_id"], told["data"]["won_on"]) == (str(customer), "2026-05-04")
    assert told["data"]["amount"] == WON["amount"]
    assert told["data"]["deal_id"] == won.rpartition("/")[2]


async def test_a_deal_that_is_open_again_is_not_handed_over_and_is_told_of(hook, calls):
    sales = hook.sales
    gone, waiting = [await sales.open(await sales.customer()) for _ in range(2)]
    await sales.http.post(f"{gone}/won", json=WON)
    await hook.follow()
    await hook.send()
    await sales.http.post(f"{waiting}/won", json=WON)
    await hook.follow()

    for deal in (gone, waiting):
        await sales.http.post(f"{deal}/reopened", json={})
    await hook.follow()
    await hook.send()

    came = [httpx.Response(200, content=body).json() for _, body in calls.came]
    told = [(one["type"], one["data"]["deal_id"]) for one in came]
    ids = [deal.rpartition("/")[2] for deal in (gone, waiting)]
    assert told[0] == ("sales.deal.won", ids[0])
    assert sorted(told[1:]) == sorted(("sales.deal.reopened", one) for one in ids)
