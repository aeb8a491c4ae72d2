"""A deal that is won is told to the back office, once and signed."""

from __future__ import annotations

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
from told import NOW

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # a test's


@pytest.fixture
def calls():
    with http_receiver() as receiver:
        yield receiver


async def test_the_back_office_is_told_of_a_deal_that_was_won(sales, calls):
    lease: Any = HeldLease()
    settings = sales.settings.model_copy(
        update={
            "back_office_url": calls.url,
            "back_office_secret": SecretStr(SECRET),
            "back_office_inside": True,
        }
    )
    following = following_of(settings, sales.core, lease)
    while await following.turn():
        pass
    customer = await sales.customer()
    lost, won = await sales.open(customer), await sales.open(customer)
    await sales.http.post(f"{lost}/lost", json={"reason": "price"})
    amount = {"amount": "1200.50", "currency": "EUR"}

    await sales.http.post(f"{won}/won", json={"won_on": "2026-05-04", "amount": amount})
    while await following.turn():
        pass
    sales.now[0] = NOW + timedelta(days=365 * 200)  # whatever is due by then
    async with httpx.AsyncClient() as client:
        channels = channels_of(settings, sales.core, client)
        sender = Sender(
            pool=sales.pool, channels=channels, lease=lease, owner="one", clock=sales.core.clock
        )
        await sender.turn()
        await sender.turn()

    [(headers, body)] = calls.came
    assert (
        Webhook(SECRET).sign(headers["webhook-id"], sales.now[0], body.decode())
        == (headers["webhook-signature"])
    )
    told = httpx.Response(200, content=body).json()
    assert told["type"] == "sales.deal.won"
    assert (told["data"]["customer_id"], told["data"]["won_on"]) == (str(customer), "2026-05-04")
    assert told["data"]["amount"] == amount
    assert told["data"]["deal_id"] == won.rpartition("/")[2]
