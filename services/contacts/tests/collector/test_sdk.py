"""The unchanged public Segment SDK sends to the collector over TCP."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from crm_chassis.http.serving import http_loop
from crm_store.clock import utc_now
from segment.analytics.client import Client


@pytest.fixture
async def address(contacts):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stop = asyncio.Event()
    serve = http_loop(contacts.app, host="127.0.0.1", port=port)
    serving = asyncio.create_task(serve(stop, beat=lambda: None))
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                break
    yield f"http://127.0.0.1:{port}"
    stop.set()
    await serving


def send_history(address, write_key, errors, *, compressed):
    began = datetime(2020, 2, 29, tzinfo=UTC)
    client = Client(
        write_key,
        host=address,
        gzip=compressed,
        max_retries=0,
        on_error=lambda error, batch: errors.append((error, batch)),
    )
    for n in range(50):
        assert client.identify(f"u{n}", {"email": f"u{n}@x.test"}, anonymous_id=f"a{n}")[0]
        assert client.page(f"u{n}", name="Home", properties={"url": "https://x.test/"})[0]
        assert client.screen(anonymous_id=f"a{n}", name="Cart")[0]
        assert client.group(f"u{n}", "acme", {"plan": "x"})[0]
    for n in range(500):
        bought = {"order_id": n, "total": 14.99, "products": [{"product_id": "cd"}]}
        at = began + timedelta(hours=n)
        assert client.track(f"u{n % 50}", "Order Completed", bought, timestamp=at)[0]
    assert client.alias("old", "u1")[0]
    client.shutdown()


@pytest.mark.parametrize("compressed", [True, False], ids=["gzip", "plain"])
async def test_the_segment_sdk_loses_nothing(contacts, address, compressed):
    errors = []
    contacts.now[0] = (
        utc_now()
    )  # the SDK says when it sends, and our clock takes out the difference
    loop = asyncio.get_running_loop()
    send = partial(send_history, address, contacts.write_key, errors, compressed=compressed)

    await loop.run_in_executor(None, send)

    assert errors == []
    counted = dict(await contacts.pool.fetch("select type, count(*) from log group by type"))
    assert counted == {
        "contacts.person.registered": 50,
        "contacts.person.identified": 1,  # u1's former id
        "contacts.activity.identified": 50,
        "contacts.activity.page": 50,
        "contacts.activity.screen": 50,
        "contacts.activity.grouped": 50,
        "contacts.activity.aliased": 1,
        "contacts.purchase.completed": 500,
    }
    months = await contacts.pool.fetchval(
        "select count(distinct date_trunc('month', occurred_at)) from log"
        " where type = 'contacts.purchase.completed'"
    )
    assert months == 2  # 29 February and March: the dates are the customers', not ours
    assert (await contacts.counts())["set_aside"] == 0
