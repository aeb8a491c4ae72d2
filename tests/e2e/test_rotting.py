"""A deal rots: its owner gets one task and one mail, whenever the worker is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from contacts.settings import ContactsSettings
from crm_chassis.core import core_of
from crm_events.contacts import MemberRegistered
from crm_events.keys import new_key, wrap
from crm_stack.server import free_port
from crm_store.database import close_pool, open_pool
from crm_store.ids import new_id
from crm_store.log.entries import NewEvent, StreamAppend
from receiving import Mailbox, smtp_receiver
from system import System, soon

from demo.running import Service

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(240)]

PIPELINES = {
    "pipelines": [
        {
            "name": "hasty",
            "stages": [{"name": "asked", "probability": 0.5, "rots_after": "PT2S"}],
            "loss_reasons": ["other"],
        }
    ]
}
MINT = """
insert into subject_key (key_id, kek_id, wrapped, unsent) values ($1, $2, $3, true)
"""
COUNT = "select count(*) from log where type = $1 and data ->> 'deal_id' = $2"
INTENTS = """
select i.state from intent i join log l on l.event_id = i.event_id where l.data ->> 'deal_id' = $1
"""


@dataclass
class Sales:
    """Sales as an API and a worker, with its database and a mailbox."""

    api: Service
    worker: Service
    database: str
    mailbox: Mailbox

    def count(self, kind: str, deal_id: str) -> int:
        return self.asked(COUNT, kind, deal_id)[0]["count"]

    def asked(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.database)
            try:
                return await connection.fetch(statement, *arguments)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def kill(self) -> None:
        assert self.worker.process is not None
        self.worker.process.kill()
        self.worker.process.wait()


@pytest.fixture(scope="module")
def sales(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sales]:
    folder = tmp_path_factory.mktemp("rotting")
    (folder / "pipelines.json").write_text(json.dumps(PIPELINES))
    with ExitStack() as ends:
        mailbox = ends.enter_context(smtp_receiver())
        port, database = free_port(), system.stack.service_database("sales")
        environment = {
            name.replace("CONTACTS_", "SALES_", 1): value
            for name, value in system.contacts.environment.items()
        } | {
            "SALES_DATABASE_URL": database,
            "SALES_HTTP_PORT": str(port),
            "SALES_PIPELINES": str(folder / "pipelines.json"),
            "SALES_SMTP_HOST": "127.0.0.1",
            "SALES_SMTP_PORT": str(mailbox.port),
            "SALES_SMTP_SECURITY": "none",
            "SALES_SMTP_SENDER": "kith@shop.test",
        }
        api = Service("sales", environment, port, folder / "sales.log", role="api")
        api.command("migrate")
        worker = api.beside("worker")
        for service in (api, worker):
            ends.callback(service.stop)
            service.start()
        for service in (api, worker):
            service.wait_ready()
        yield Sales(api, worker, database, mailbox)


async def register_member(system: System, mail: str) -> UUID:
    """A member of the company, as contacts has them: an event and a key of their own."""
    prefix, told = "CONTACTS_", system.contacts.environment
    settings = ContactsSettings(
        **{name.removeprefix(prefix).lower(): value for name, value in told.items()}
    )
    member_id, kek = new_id(), settings.keks[0]
    wrapped = wrap(new_key(), key_id=str(member_id), kek=kek)
    database = settings.database_url.get_secret_value()
    async with open_pool(database, application_name="test", max_size=2) as pool:
        await pool.execute(MINT, str(member_id), kek.kek_id, wrapped)
        core = core_of(settings, pool)
        event = MemberRegistered(member_id=member_id, name="Bob", mail=mail)
        new = NewEvent(event, new_id(), core.clock(), member_id)
        await core.log.append(streams=[StreamAppend(member_id, 0, (new,))])
        await close_pool(pool)
    return member_id


@pytest.mark.parametrize("kind", ["sales.deal.rotted", "sales.task.opened"])
def test_the_owner_of_a_deal_that_rots_has_one_task_and_one_mail_whenever_the_worker_is_killed(
    system: System, sales: Sales, kind: str
):
    to = f"{kind}@shop.test"
    owner_id = str(asyncio.run(register_member(system, to)))
    with system.caller(system.contacts, "people:write") as people:
        known_by = {"identifiers": [{"namespace": "mail", "value": to}]}
        customer_id = people.post("/people", json=known_by).json()["customer_id"]
    with system.caller(sales.api, "deals:write", "tasks:read") as client:
        body = {
            "customer_id": customer_id,
            "pipeline": "hasty",
            "title": "Cups",
            "owner_id": owner_id,
        }

        def opened() -> httpx.Response | None:
            answer = client.post("/deals", json=body)
            # 409: sales has not heard of them. 503: their key is on its way.
            assert answer.status_code in {201, 409, 503}, answer.text
            return answer if answer.status_code == 201 else None

        deal_id = soon(opened).json()["stream_id"]

        soon(lambda: sales.count(kind, deal_id))
        sales.kill()
        sales.worker.start().wait_ready()
        soon(lambda: [row["state"] for row in sales.asked(INTENTS, deal_id)] == ["sent"])

        counts = [sales.count(one, deal_id) for one in ("sales.deal.rotted", "sales.task.opened")]
        assert counts == [1, 1]
        mails = [mail for recipients, mail in sales.mailbox.came if recipients == [to]]
        assert len({mail["Message-ID"] for mail in mails}) == 1, "what may come again is one by id"
        assert deal_id in mails[0].get_payload()

        def listed() -> list[str]:
            answer = client.get("/tasks", params={"owner_id": owner_id, "open": True})
            return [task["deal_id"] for task in answer.json()["items"]]

        assert soon(listed) == [deal_id]

        lost = client.post(f"/deals/{deal_id}/lost", json={"reason": "other"})
        assert lost.status_code == 200, lost.text
        assert soon(lambda: not listed())
