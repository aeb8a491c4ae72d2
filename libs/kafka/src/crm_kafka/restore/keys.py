"""Subject keys back from Kafka into the keystore that publishes them; a destroyed one wins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaTimeoutError
from crm_events.topics import KEYS_TOPIC

from crm_kafka.key_reader import KeyReader
from crm_kafka.restore.reading import own_records

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

CAUGHT_UP_WITHIN_S: Final = 600.0
"""A compacted topic of some million keys is read in a minute or two."""


async def copy_keys(
    pool: asyncpg.Pool,
    bootstrap: str,
    *,
    service: str,
    beat: Callable[[], None],
    topic: str = KEYS_TOPIC,
) -> None:
    """Take every key that Kafka has, to where the topic ends now.

    Raises:
        KafkaTimeoutError: it was not read within the limit.
    """
    async with own_records(bootstrap, service=service, beat=beat) as records:
        if not await records.has(topic):
            return
    reader = KeyReader(pool=pool, service=service, bootstrap=bootstrap, topic=topic)
    stop = asyncio.Event()
    reading = asyncio.create_task(reader.run(stop, beat=beat))
    caught_up = asyncio.create_task(reader.caught_up.wait())
    try:
        done, _ = await asyncio.wait(
            {reading, caught_up},
            timeout=CAUGHT_UP_WITHIN_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        stop.set()
        caught_up.cancel()
        await asyncio.wait({reading})
    reading.result()
    if caught_up not in done:
        raise KafkaTimeoutError(f"{topic} was not read within {CAUGHT_UP_WITHIN_S} s")
