"""Relays on real servers; each is ended with its test, as the end of `run` would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from crm_events.topics import Contract, Topic
from crm_kafka.relay.relay import Relay
from crm_kafka.restore.settling import Settling
from crm_store.clock import utc_now
from relaying import Leads, Rows


@pytest.fixture
def topic(topic_name: str) -> Topic:
    return Topic(topic_name, "probe", (), 12)


@pytest.fixture
def rows(pool: asyncpg.Pool, topic: Topic) -> Rows:
    return Rows(pool, topic)


@pytest.fixture
def other(pool: asyncpg.Pool, topic_name: str) -> Rows:
    return Rows(pool, Topic(f"{topic_name}.other", "probe", (), 3))


@pytest.fixture
async def relay_of(pool: asyncpg.Pool, kafka: str) -> AsyncIterator[Callable[..., Relay]]:
    """`relay_of(*topics, lease=...)`: the relay of a release that publishes these topics."""
    made: list[Relay] = []

    def make(*topics: Topic, lease: object | None = None) -> Relay:
        relay = Relay(
            pool=pool,
            contract=Contract(topics),
            service="probe",
            bootstrap=kafka,
            replication_factor=1,
            min_insync=1,
            lease=lease or Leads(),
            wake=asyncio.Event(),
            clock=utc_now,
            settled=Settling(
                pool=pool, contract=Contract(topics), service="probe", bootstrap=kafka
            ).settled,
        )
        made.append(relay)
        return relay

    yield make
    for relay in made:
        await relay.close()
