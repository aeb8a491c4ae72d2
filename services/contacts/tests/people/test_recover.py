"""A database of contacts that was lost comes back from Kafka, with whom the identifiers lead to."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import asyncpg
import httpx
import pytest
from contacts.bootstrap import MIGRATIONS, SERVICE, application, recovering
from contacts.settings import ContactsSettings
from crm_chassis.core import core_of
from crm_events.topics import CONTRACT
from crm_kafka.key_outbox import KeyOutbox
from crm_kafka.relay.relay import Relay
from crm_kafka.restore.settling import Settling
from crm_store.clock import utc_now
from crm_store.database import close_pool, open_pool
from crm_store.migrations.running import migrate
from pydantic import SecretStr


class Leads:
    """A lease that is always held."""

    held = True

    async def wait_held(self, _: float) -> bool:
        return True


@pytest.fixture
async def made(stack, kafka, contacts):
    """`await made()`: contacts on a database of its own, with the callers' keys of the others."""
    async with AsyncExitStack() as ends:

        async def make():
            database = stack.fresh_database()
            ends.callback(stack.drop_database, database)
            await migrate(database, MIGRATIONS, beat=lambda: None, stop=asyncio.Event())
            pool = await ends.enter_async_context(
                open_pool(database, application_name="made", max_size=5)
            )
            ends.push_async_callback(close_pool, pool)
            keys = await contacts.pool.fetch("select * from api_key")
            for key in keys:
                await pool.execute("insert into api_key values ($1, $2, $3, $4, $5, $6)", *key)
            settings = replace_bootstrap(contacts.settings, database, kafka)
            core = core_of(settings, pool)
            app = application(settings, core, stalled=tuple)
            http = await ends.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app),
                    base_url="http://made",
                    headers=contacts.http.headers,
                )
            )
            return replace(contacts, settings=settings, pool=pool, core=core, app=app, http=http)

        yield make


def replace_bootstrap(settings: ContactsSettings, database: str, kafka: str) -> ContactsSettings:
    changed = {
        "database_url": SecretStr(database),
        "kafka_bootstrap": kafka,
        "kafka_replication_factor": 1,
        "kafka_min_insync": 1,
    }
    return settings.model_copy(update=changed)


async def publish(pool: asyncpg.Pool, kafka: str, *, keys: bool) -> None:
    """What the worker sends: events, and subject keys unless it was killed before."""
    about = {
        "pool": pool,
        "service": SERVICE,
        "bootstrap": kafka,
        "replication_factor": 1,
        "min_insync": 1,
        "lease": Leads(),
        "wake": asyncio.Event(),
    }
    settling = Settling(pool=pool, contract=CONTRACT, service=SERVICE, bootstrap=kafka)
    relay = Relay(contract=CONTRACT, clock=utc_now, settled=settling.settled, **about)
    outbox = KeyOutbox(**about)
    while await relay.turn():
        pass
    while keys and await outbox.turn():
        pass
    await relay.close()
    await outbox.close()


async def test_whom_an_identifier_leads_to_is_known_again(made, kafka: str) -> None:
    lost, anew = await made(), await made()
    people = {}
    for mail in ("ada@example.test", "bo@example.test"):
        known_by = {"identifiers": [{"namespace": "mail", "value": mail}]}
        answer = await lost.http.post("/people", json=known_by)
        people[mail] = answer.json()["customer_id"]
    member = {"name": "Bea", "mail": "bea@example.test"}
    assert (await lost.http.post("/members", json=member)).status_code == 201
    calls = (
        {"type": "page", "anonymousId": "a1", "messageId": "m1", "name": "Home"},
        {"type": "identify", "userId": "u1", "anonymousId": "a1", "messageId": "m2"},
    )
    assert (await lost.send(*calls)).status_code == 200
    await publish(lost.pool, kafka, keys=True)
    known_by = {"identifiers": [{"namespace": "mail", "value": "late@example.test"}]}
    late = (await lost.http.post("/people", json=known_by)).json()["customer_id"]
    await publish(lost.pool, kafka, keys=False)  # killed before the key was sent
    held = await lost.pool.fetch("select kind, digest, holder from reservation")

    recovered = await recovering(anew.settings, anew.pool).recover()

    rows = "select event_id, data::text, meta::text from log order by event_id"
    assert await anew.pool.fetch(rows) == await lost.pool.fetch(rows)
    assert recovered.lost_keys == 1
    assert recovered.reserved == len(held) - 2  # the late one's is gone, members' come together
    again = await anew.pool.fetch("select kind, digest, holder from reservation")
    assert set(again) == {one for one in held if str(one["holder"]) != late}
    await anew.fold()  # nothing stops on what is sealed under the lost key
    for mail, customer_id in people.items():
        found = await anew.http.get(
            "/customers/lookup", params={"namespace": "mail", "value": mail}
        )
        assert found.json()["holder"] == customer_id
    assert (await anew.send(*calls)).status_code == 200  # known for ever: duplicates
    assert await anew.pool.fetch(rows) == await lost.pool.fetch(rows)
