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
from receiving import Calls, http_receiver
from spans import Told
from system import SOON_SECONDS, System, fresh, soon

from demo.running import Service

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(240)]

OWNER = UUID(int=0xB0B)
TRACE = "6cf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def calls() -> Iterator[Calls]:
    """The back office, which is told of deals that are won."""
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def service(system: System, calls: Calls, tmp_path_factory) -> Iterator[Service]:
    """Sales in one process, with the keys and the Kafka of contacts."""
    port = free_port()
    environment = {
        name.replace("CONTACTS_", "SALES_", 1): value
        for name, value in system.contacts.environment.items()
    } | {
        "SALES_DATABASE_URL": system.stack.service_database("sales"),
        "SALES_HTTP_PORT": str(port),
        "SALES_BACK_OFFICE_URL": calls.url,
        "SALES_BACK_OFFICE_INSIDE": "true",
        "SALES_BACK_OFFICE_SECRET": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
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


def registered(people: httpx.Client, mail: str) -> str:
    """A customer of contacts; their id."""
    identifiers = [{"namespace": "mail", "value": mail}]
    body = {"identifiers": identifiers, "profile": {"name": "Dea Example"}}
    return people.post("/people", json=body).json()["customer_id"]


def opened(deals: httpx.Client, customer_id: str) -> str:
    """A deal, as soon as sales has heard of the customer; its id."""
    body = {
        "customer_id": customer_id,
        "pipeline": "sales",
        "title": "Gläser für das Café",
        "owner_id": str(OWNER),
        "amount": {"amount": "1200.50", "currency": "EUR"},
    }

    def answered() -> str | None:
        answer = deals.post("/deals", json=body)
        # 409: sales has not heard of them. 503: their key is on its way.
        assert answer.status_code in {201, 409, 503}, answer.text
        return answer.json()["stream_id"] if answer.status_code == 201 else None

    return soon(answered)


def test_a_deal_with_somebody_of_contacts_is_shown_by_name_and_told_sealed(
    system: System, people: httpx.Client, deals: httpx.Client
):
    customer_id = registered(people, "deal@example.org")
    deal_id = opened(deals, customer_id)

    won = deals.post(f"/deals/{deal_id}/won", json={"won_on": "2026-05-31"})

    after = {"after": won.json()["position"]}
    told = soon(lambda: fresh(deals.get(f"/deals/{deal_id}", params=after))).json()
    assert (told["customer_name"], told["title"]) == ("Dea Example", "Gläser für das Café")
    assert (told["status"], told["won_on"]) == ("won", "2026-05-31")

    def on_file() -> dict[str, Any] | None:
        file = people.get(f"/customers/{customer_id}").json()
        return next((one for one in file["deals"] if one["status"] == "won"), None)

    shown = soon(on_file)
    assert (shown["deal_id"], shown["title"]) == (deal_id, "Gläser für das Café")
    assert (shown["amount"], shown["currency"]) == ("1200.50", "EUR")
    records = asyncio.run(published(system.stack.kafka.bootstrap, deal_id, 2))
    assert [envelope.type for envelope, _ in records] == ["sales.deal.opened", "sales.deal.won"]
    assert {str(envelope.partition_key) for envelope, _ in records} == {customer_id}
    assert "Gläser".encode() not in b"".join(value for _, value in records)


def test_the_webhook_about_a_deal_is_of_the_trace_in_which_it_was_won(
    system: System, calls: Calls, people: httpx.Client, deals: httpx.Client
):
    deal_id = opened(deals, registered(people, "traced-deal@example.org"))

    won = deals.post(
        f"/deals/{deal_id}/won",
        json={"won_on": "2026-05-31"},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
    )

    assert won.status_code == 200, won.text
    expected = {
        ("sales", "POST /deals/{deal_id}/won"): CALLER,
        ("sales", "append"): "POST /deals/{deal_id}/won",
        ("sales", "process hand-over"): "append",
        ("sales", "POST back-office"): "append",
    }

    def told() -> dict[tuple[str, str], Told] | None:
        spans = system.spans.of(TRACE)
        return spans if expected.keys() <= spans.keys() else None

    spans = soon(told)
    ids = {CALLER: CALLER} | {step[1]: spans[step].span_id for step in expected}
    assert {step: spans[step].parent_id for step in expected} == {
        step: ids[parent] for step, parent in expected.items()
    }
    carried = [headers.get("traceparent") for headers, _ in calls.came]
    assert f"00-{TRACE}-{ids['POST back-office']}-01" in carried
    exported = b"".join(system.spans.bodies)
    assert not [one for one in (b"Dea Example", b"traced-deal@example.org") if one in exported]
