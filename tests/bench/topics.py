"""Kafka's topics between runs: gone before each that must begin with empty ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from crm_stack.kafka import Kafka
from crm_stack.stack import Stack

GONE_WITHIN_S = 30
DELETED = "-delete"
"""How Kafka names the folder of a partition that is gone."""


async def drop_topics(bootstrap: str) -> None:
    """Delete every topic but Kafka's own, and wait until the broker knows none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(GONE_WITHIN_S):
            while left := [one for one in await admin.list_topics() if not one.startswith("__")]:
                await admin.delete_topics(left)
                await asyncio.sleep(0.2)
    finally:
        await admin.close()


def topic_bytes(stack: Stack, topic: str) -> int | None:
    """What the records of a topic take on disk; None where the broker is not our own."""
    return bytes_in(stack.kafka.folder, topic) if isinstance(stack.kafka, Kafka) else None


def bytes_in(folder: Path, topic: str) -> int:
    """Of the topic that is there: one of its name that was deleted lies there for a minute more."""
    return sum(
        path.stat().st_size
        for path in folder.rglob(f"{topic}-*/*.log")
        if not path.parent.name.endswith(DELETED)
    )
