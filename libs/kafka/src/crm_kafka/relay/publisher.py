"""The relay's producer: batches in order, one at a time per partition, every answer checked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_kafka.producer import (
    BATCH_BYTES,
    SEND_WITHIN_S,
    abandon,
    start_producer,
    while_beating,
)
from crm_kafka.relay.page import EVENT_ID, PARTITION, RECORDED_AT_MS, TOPIC
from crm_kafka.relay.progress import UNKNOWN_OFFSET, Numbered
from crm_kafka.relay.record import record

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import AIOKafkaProducer, BatchBuilder, RecordMetadata

    from crm_kafka.relay.page import Page

ROWS_AT_ONCE: Final = 250
"""Rows made into records before others get the loop: about 2 ms."""


class RecordTooLargeError(Exception):
    """A row that must have been refused when it was appended: Kafka would not take it."""

    def __init__(self, event_id: str, size: int) -> None:
        super().__init__(f"event {event_id} makes a batch of {size} bytes, above {BATCH_BYTES}")
        self.event_id, self.size = event_id, size


@dataclass(slots=True)
class Bundle:
    """The records of one topic partition in order, batched, with the number of the last one."""

    sequence: int
    batches: list[BatchBuilder]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A page as Kafka will get it: numbered, batched, checked. Any producer may send it."""

    page: Page
    bundles: Mapping[tuple[str, int], Bundle]

    def sequence(self, topic: str, partition: int) -> int | None:
        """The last number given in it there, None where it has nothing for the partition."""
        bundle = self.bundles.get((topic, partition))
        return None if bundle is None else bundle.sequence


class Publisher:
    """An idempotent producer, and a new one after anything went wrong with it."""

    def __init__(self, *, bootstrap: str, service: str) -> None:
        self._bootstrap = bootstrap
        self._service = service
        self._producer: AIOKafkaProducer | None = None

    async def parcel(
        self, page: Page, after: Callable[[str, int], int], *, beat: Callable[[], None]
    ) -> Parcel:
        """Number the rows of a page, each one above the last in its partition, and batch them.

        `after` tells the last number given before the page.

        Raises:
            RecordTooLargeError: a row is above what Kafka takes.
            KafkaError: no broker within the limits.
        """
        if not page.rows:
            return Parcel(page, {})
        producer = self._producer or await self._start(beat)
        bundles: dict[tuple[str, int], Bundle] = {}
        for start in range(0, len(page.rows), ROWS_AT_ONCE):
            for row in page.rows[start : start + ROWS_AT_ONCE]:
                place = (row[TOPIC], row[PARTITION])
                bundle = bundles.get(place)
                if bundle is None:
                    bundle = bundles[place] = Bundle(after(*place), [producer.create_batch()])
                bundle.sequence += 1
                key, value, headers = record(row, page, bundle.sequence, self._service)
                at: int = row[RECORDED_AT_MS]
                add = bundle.batches[-1].append
                if add(timestamp=at, key=key, value=value, headers=headers) is None:
                    batch = producer.create_batch()
                    batch.append(timestamp=at, key=key, value=value, headers=headers)
                    bundle.batches.append(batch)
            await asyncio.sleep(0)  # others want the loop too: what is in flight, and requests
        _check_sizes(page, bundles)
        return Parcel(page, bundles)

    async def send(self, parcel: Parcel, *, beat: Callable[[], None]) -> list[Numbered]:
        """Send a parcel; returns when Kafka has acknowledged all of it.

        On any error the producer is given up. Some records may be in Kafka then: sending their
        rows again gives them the same numbers.

        Raises:
            KafkaError: no broker within the limits, or a producer that cannot go on.
        """
        if not parcel.bundles:
            return []
        producer = self._producer or await self._start(beat)
        try:
            offsets = await while_beating(_send_all(producer, parcel.bundles), SEND_WITHIN_S, beat)
        except BaseException:
            self._producer = None
            await abandon(producer)
            raise
        return [
            Numbered(topic, partition, bundle.sequence, offset)
            for ((topic, partition), bundle), offset in zip(
                parcel.bundles.items(), offsets, strict=True
            )
        ]

    async def close(self) -> None:
        """Give the producer up. Nothing is in flight between two `send`s."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await abandon(producer)

    async def _start(self, beat: Callable[[], None]) -> AIOKafkaProducer:
        client_id = f"{self._service}-relay"
        self._producer = await start_producer(self._bootstrap, client_id=client_id, beat=beat)
        return self._producer


def _check_sizes(page: Page, bundles: Mapping[tuple[str, int], Bundle]) -> None:
    """An empty batch takes its first record whatever its size; Kafka does not."""
    for place, bundle in bundles.items():
        for number, batch in enumerate(bundle.batches):
            if batch.size() > BATCH_BYTES:
                before = sum(each.record_count() for each in bundle.batches[:number])
                rows = [row for row in page.rows if (row[TOPIC], row[PARTITION]) == place]
                raise RecordTooLargeError(rows[before][EVENT_ID], batch.size())


async def _send_all(
    producer: AIOKafkaProducer, bundles: Mapping[tuple[str, int], Bundle]
) -> list[int]:
    """Offsets of the last record of each; partitions concurrently, one batch of each at a time.

    A batch refused makes the ones behind it land without it, so none is sent before its answer.
    """
    # Not a TaskGroup: the first error alone tells the caller what to do, those of other
    # partitions have the same cause or come again.
    tasks = [
        asyncio.ensure_future(_send_in_order(producer, bundle.batches, topic, partition))
        for (topic, partition), bundle in bundles.items()
    ]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _send_in_order(
    producer: AIOKafkaProducer, batches: Sequence[BatchBuilder], topic: str, partition: int
) -> int:
    last = UNKNOWN_OFFSET
    for batch in batches:
        batch.close()
        count = batch.record_count()
        answer = await producer.send_batch(batch, topic, partition=partition)
        answer.add_done_callback(_seen)
        # Shielded: aiokafka fails with a batch whose future was cancelled under it.
        metadata = await asyncio.shield(answer)
        last = metadata.offset + count - 1 if metadata.offset >= 0 else UNKNOWN_OFFSET
    return last


def _seen(answer: Future[RecordMetadata]) -> None:
    """Answers of a producer that was given up concern nobody: no complaint that none looked."""
    if not answer.cancelled():
        answer.exception()
