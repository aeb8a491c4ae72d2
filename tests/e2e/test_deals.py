"""A deal with a customer of contacts: heard over Kafka, opened by its key, shown on their file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from crm_events.codec import read_headers
from crm_events.topics import DEALS
from crm_stack.server import free_port
from system import SOON_SECONDS, System, fresh, soon

from demo.running import Service

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(240)]

OWNER = UUID(int=0xB0B)


@pytest.fixture(scope="module")
def service(system: System, tmp_path_factory) -> Iterator[Service]:
    """Sales in one process, with the keys and the Kafka of contacts."""
    port = free_port()
    environment = {
        name.replace("CONTACTS_", "SALES_", 1): value
        for name, value in system.contacts.environment.items()
    } | {
        "SALES_DATABASE_URL": system.stack.service_database("sales"),
        "SALES_HTTP_PORT": str(port),
    }
    log = tmp_path_factory.mktemp("sales") / "sales.log"
    service = Service("sales", environment, port, log).start()
    try:
        service.wait_ready()
        yield service
    finally:
        assert service.stop() == 0


@pytest.fixture(scope="module")
def deals(system: System, service: Service) -> Iterator[httpx.Client]:
    with system.caller(service, "deals:read", "deals:write") as client:
        yield client


@pytest.fixture(scope="module")
def people(system: System) -> Iterator[httpx.Client]:
    with system.caller(system.contacts, "people:read", "people:write") as client:
        yield client


async def published(kafka: str, deal_id: str, count: int) -> list[Any]:
    """So many records of a deal, as a stranger reads them."""
    consumer = AIOKafkaConsumer(
        DEALS.name, bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest"
    )
    found: list[Any] = []
    await consumer.start()
    try:
        async with asyncio.timeout(SOON_SECONDS):
            while len(found) < count:
                record = await consumer.getone()
                envelope = read_headers(record.key, record.headers)
                if str(envelope.subject) == deal_id:
                    found.append((envelope, record.value))
    finally:
        await consumer.stop()
    return found


def test_a_deal_with_somebody_of_contacts_is_shown_by_name_and_told_sealed(
    system: System, people: httpx.Client, deals: httpx.Client
):
    mail = {"namespace": "mail", "value": "deal@example.org"}
    registered = people.post(
        "/people", json={"identifiers": [mail], "profile": {"name": "Dea Example"}}
    ).json()
    body = {
        "customer_id": registered["customer_id"],
        "pipeline": "sales",
        "title": "Gläser für das Café",
        "owner_id": str(OWNER),
        "amount": {"amount": "1200.50", "currency": "EUR"},
    }

    def opened() -> httpx.Response | None:
        answer = deals.post("/deals", json=body)
        # 409: sales has not heard of them. 503: their key is on its way.
        assert answer.status_code in {201, 409, 503}, answer.text
        return answer if answer.status_code == 201 else None

    deal_id = soon(opened).json()["stream_id"]
    won = deals.post(f"/deals/{deal_id}/won", json={"won_on": "2026-05-31"})

    after = {"after": won.json()["position"]}
    told = soon(lambda: fresh(deals.get(f"/deals/{deal_id}", params=after))).json()
    assert (told["customer_name"], told["title"]) == ("Dea Example", "Gläser für das Café")
    assert (told["status"], told["won_on"]) == ("won", "2026-05-31")

    def on_file() -> dict[str, Any] | None:
        file = people.get(f"/customers/{registered['customer_id']}").json()
        return next((one for one in file["deals"] if one["status"] == "won"), None)

    shown = soon(on_file)
    assert (shown["deal_id"], shown["title"]) == (deal_id, "Gläser für das Café")
    assert (shown["amount"], shown["currency"]) == ("1200.50", "EUR")
    records = asyncio.run(published(system.stack.kafka.bootstrap, deal_id, 2))
    assert [envelope.type for envelope, _ in records] == ["sales.deal.opened", "sales.deal.won"]
    assert {str(envelope.partition_key) for envelope, _ in records} == {registered["customer_id"]}
    assert "Gläser".encode() not in b"".join(value for _, value in records)
