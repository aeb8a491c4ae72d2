"""A deal that is won is told to the back office, once and signed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
from crm_chassis.effects.webhook import Endpoint
from receiving import http_receiver
from sales.bootstrap import effects_of, sender_of
from standardwebhooks.webhooks import Webhook
from summing import HeldLease
from told import NOW

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # a test's


async def test_the_back_office_is_told_of_a_deal_that_was_won(sales):
    lease: Any = HeldLease()
    effects = effects_of(sales.core, lease)
    while await effects.turn():
        pass
    customer = await sales.customer()
    lost, won = await sales.open(customer), await sales.open(customer)
    await sales.http.post(f"{lost}/lost", json={"reason": "price"})
    amount = {"amount": "1200.50", "currency": "EUR"}

    await sales.http.post(f"{won}/won", json={"won_on": "2026-05-04", "amount": amount})
    while await effects.turn():
        pass
    sales.now[0] = NOW + timedelta(days=365 * 200)  # whatever is due by then
    with http_receiver() as calls:
        async with httpx.AsyncClient() as client:
            endpoint = Endpoint(calls.url, SECRET, inside=True)
            sender = sender_of(endpoint, sales.core, lease=lease, owner="one", client=client)
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
