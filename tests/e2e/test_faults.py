"""Starting and leaving in good order, whatever is away; the faults themselves: tests/fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from oracle import Oracle, judge, settled
from system import System, fresh, soon

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.fault,
    pytest.mark.timeout(240),
]

PER_SECOND = 200
BEFORE_SECONDS, BETWEEN_SECONDS = 1.0, 2.0


@pytest.fixture(scope="module")
def oracle(system: System) -> Oracle:
    """One for the whole module: what an earlier fault broke, every later verdict shows."""
    return Oracle(20_261_121, system.contacts.url, system.write_key())


@asynccontextmanager
async def load(oracle: Oracle) -> AsyncIterator[None]:
    """200 purchases a second while the body runs; what was begun is delivered."""
    stop = asyncio.Event()
    sending = asyncio.create_task(oracle.send(stop, per_second=PER_SECOND))
    try:
        await asyncio.sleep(BEFORE_SECONDS)
        yield
        await asyncio.sleep(BETWEEN_SECONDS)
    finally:
        stop.set()
        await sending


async def expect_clean(oracle: Oracle, system: System) -> None:
    await settled(system)
    verdict = await judge(oracle, system)
    assert verdict.accepted > 0
    assert verdict.clean, verdict


async def test_every_process_leaves_by_itself_when_asked_under_load(system, oracle):
    """With 0: none of its loops was still there after 12 s, and cancelled."""
    codes = []
    async with load(oracle):
        for service in system.processes:
            codes.append(await asyncio.to_thread(service.stop))
            service.start()
            await asyncio.to_thread(service.wait_ready)

    await expect_clean(oracle, system)
    assert codes == [0, 0, 0, 0]


async def test_with_kafka_away_contacts_takes_commands_and_shows_them_and_pays_what_it_owes(
    system, oracle
):
    with system.caller(system.contacts, "people:read", "people:write") as people:
        await asyncio.to_thread(system.stack.kafka.stop)
        try:
            registered = people.post(
                "/people",
                json={
                    "identifiers": [{"namespace": "mail", "value": "owed@example.com"}],
                    "profile": {"firstName": "Owed"},
                },
            )
            assert registered.status_code == 201, registered.text
            person = registered.json()
            url, after = f"/customers/{person['customer_id']}", {"after": person["position"]}
            file = soon(lambda: fresh(people.get(url, params=after)))
        finally:
            await asyncio.to_thread(system.stack.kafka.start)

    assert file.status_code == 200
    assert file.json()["profile"] == {"firstName": "Owed"}
    await settled(system)
    analytics = await system.database("analytics")
    heard = await analytics.fetchval(
        "select count(*) from log where partition_key = $1", UUID(person["customer_id"])
    )
    await analytics.close()
    assert heard == 1


async def test_every_process_starts_while_its_servers_are_away(system, oracle):
    servers = (system.stack.postgres, system.stack.kafka)
    for stoppable in (*system.processes, *servers):
        await asyncio.to_thread(stoppable.stop)

    for service in system.processes:
        service.start()
    for service in system.processes:
        await asyncio.to_thread(service.wait_alive)
    for server in servers:
        await asyncio.to_thread(server.start)
    for service in system.processes:
        await asyncio.to_thread(service.wait_ready)

    async with load(oracle):
        pass
    await expect_clean(oracle, system)
