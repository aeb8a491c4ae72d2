"""A publisher whose database server can be exchanged under it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from crm_events.topics import Contract, Topic
from crm_store.clock import utc_now
from crm_store.database import close_pool, open_pool
from crm_store.keyring import Keyring
from crm_store.log.append import Log
from crm_store.log.wakeups import Wakeups
from exchanging import Prepared, Site, prepared
from probe import OF_THIS_RUN, Counted, Named, Noted, Probe
from publishing import MOST_CONNECTIONS, Publisher


@pytest.fixture(scope="session")
def begins() -> Iterator[Prepared]:
    with prepared() as files:
        yield files


@pytest.fixture
def site(begins: Prepared) -> Iterator[Site]:
    with Site(begins) as made:
        yield made


@pytest.fixture
async def publisher(site: Site, kafka: str, topic_name: str) -> AsyncIterator[Publisher]:
    topic = Topic(topic_name, "probe", (Counted, Named), 3)
    contract = Contract((topic,), private=(Noted,))
    async with AsyncExitStack() as ends:
        pool = await ends.enter_async_context(
            open_pool(site.url, application_name="probe", max_size=MOST_CONNECTIONS)
        )
        ends.push_async_callback(close_pool, pool)
        await pool.execute(OF_THIS_RUN)
        keyring, wakeups = Keyring(pool, []), Wakeups(pool)

        async def mint(_: UUID) -> None:
            raise NotImplementedError

        log = Log(pool=pool, contract=contract, keyring=keyring, clock=utc_now, wakeups=wakeups)
        probe = Probe(pool, log, keyring, contract, wakeups, mint)
        yield Publisher(site, pool, probe, topic, kafka, ends)
