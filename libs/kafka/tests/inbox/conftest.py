"""A topic as a relay would fill it, and inboxes that read it into a fresh log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from wire import Wire


@pytest.fixture
async def wire(pool: asyncpg.Pool, kafka: str, topic_name: str) -> AsyncIterator[Wire]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await producer.start()
    await admin.start()
    made = Wire(pool, kafka, topic_name, producer, admin)
    yield made
    await made.producer.stop()
    await admin.delete_topics([topic_name])
    await admin.close()
