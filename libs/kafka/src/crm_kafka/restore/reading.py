"""Reading this service's own topics back, from where the log says it was, to where they end."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from crm_kafka.consumer import close
from crm_kafka.inbox.rows import hear
from crm_kafka.producer import while_beating

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
    )

    from crm_events.topics import Topic

    from crm_kafka.inbox.rows import Heard

POLL_MS: Final = 500
RECORDS_AT_ONCE: Final = 2_000
START_WITHIN_S: Final = 10.0
ANSWER_WITHIN_S: Final = 10.0
REQUEST_TIMEOUT_MS: Final = 10_000
FETCH_MAX_WAIT_MS: Final = 20
"""All that is read is there already: a broker that waits for more only keeps us waiting."""
PARTITION_FETCH_BYTES: Final = 1_048_576

SILENT_S: Final = 30.0

T = TypeVar("T")
Place = tuple[str, int]
"""Topic and partition."""


class OwnRecords:
    """What Kafka has of this service's topics, between two moments. Read once, then leave it."""

    def __init__(self, consumer: AIOKafkaConsumer, beat: Callable[[], None]) -> None:
        self._consumer = consumer
        self._beat = beat
        self.ends: dict[TopicPartition, int] = {}
        self._known: dict[TopicPartition, tuple[int, int]] = {}
        self._heard_at = 0.0

    async def has(self, topic: str) -> bool:
        """Is there such a topic?"""
        return topic in await self._answered(self._consumer.topics())

    async def look(self, topics: Iterable[Topic]) -> None:
        """Note where the topics end now. Topics that are not there have nothing."""
        there = await self._answered(self._consumer.topics())
        places = [
            TopicPartition(topic.name, partition)
            for topic in topics
            if topic.name in there
            for partition in range(topic.partitions)
        ]
        self._consumer.assign(places)
        self.ends = await self._answered(self._consumer.end_offsets(places)) if places else {}

    def behind(self, offsets: Mapping[Place, int]) -> bool:
        """Does any partition go on behind the record at its offset?"""
        return any(
            end > offsets.get((place.topic, place.partition), -1) + 1
            for place, end in self.ends.items()
        )

    async def seek(self, numbers: Mapping[Place, int], offsets: Mapping[Place, int]) -> None:
        """Begin at the record that the log knows to be there, else at the beginning."""
        self._heard_at = asyncio.get_running_loop().time()
        begins = await self._answered(self._consumer.beginning_offsets(list(self.ends)))
        for place, begin in begins.items():
            offset = offsets.get((place.topic, place.partition), -1)
            if begin <= offset < self.ends[place]:
                self._known[place] = (offset, numbers[place.topic, place.partition])
                self._consumer.seek(place, offset)
            else:
                self._consumer.seek(place, begin)

    async def in_any_order(self) -> AsyncIterator[list[Heard]]:
        """Records in the order of each partition, up to its end, as they come."""
        left = await self._unread(self.ends)
        while left:
            for records in (await self._poll(left)).values():
                yield records
            left = await self._unread(left)

    async def in_order_of_time(self) -> AsyncIterator[Heard]:
        """Records in the order of each partition, and of the times they were recorded at besides.

        At most one poll of each partition is in memory.
        """
        left = await self._unread(self.ends)
        waiting: dict[TopicPartition, deque[Heard]] = {place: deque() for place in left}
        clock = dict.fromkeys(left, 0)
        heads: list[tuple[int, str, int]] = []

        def put_head(place: TopicPartition) -> None:
            # Within a partition times may go back; the order of the partition is what counts.
            clock[place] = max(clock[place], waiting[place][0].record.timestamp)
            heapq.heappush(heads, (clock[place], place.topic, place.partition))

        hungry = set(left)
        while hungry or heads:
            while hungry:
                for place, records in (await self._poll(hungry)).items():
                    if records:
                        waiting[place].extend(records)
                        put_head(place)
                        hungry.discard(place)
                hungry = set(await self._unread(hungry))
            _, topic, partition = heapq.heappop(heads)
            place = TopicPartition(topic, partition)
            yield waiting[place].popleft()
            if waiting[place]:
                put_head(place)
            elif await self._unread([place]):
                hungry.add(place)

    async def _poll(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, list[Heard]]:
        self._beat()
        loop = asyncio.get_running_loop()
        polled = await self._consumer.getmany(
            *places, timeout_ms=POLL_MS, max_records=RECORDS_AT_ONCE
        )
        if polled:
            self._heard_at = loop.time()
        elif loop.time() - self._heard_at > SILENT_S:
            raise KafkaTimeoutError(f"no record from Kafka within {SILENT_S} s")
        found: dict[TopicPartition, list[Heard]] = {}
        for place, records in polled.items():
            heard = [hear(one) for one in records if one.offset < self.ends[place]]
            if place in self._known:
                offset, number = self._known.pop(place)
                if heard and (heard[0].offset, heard[0].sequence) != (offset, number):
                    # The topic is not the one it was: made anew, or cut off.
                    begins = await self._answered(self._consumer.beginning_offsets([place]))
                    self._consumer.seek(place, begins[place])
                    heard = []
            found[place] = heard
        return found

    async def _unread(self, places: Iterable[TopicPartition]) -> list[TopicPartition]:
        left: list[TopicPartition] = []
        for place in places:
            if await self._answered(self._consumer.position(place)) < self.ends[place]:
                left.append(place)
            else:
                self._consumer.pause(place)  # nothing more is fetched of it
        return left

    async def _answered(self, work: Coroutine[Any, Any, T]) -> T:
        return await while_beating(work, ANSWER_WITHIN_S, self._beat)


@asynccontextmanager
async def own_records(
    bootstrap: str, *, service: str, beat: Callable[[], None]
) -> AsyncGenerator[OwnRecords]:
    """A reader of its own, in no consumer group.

    Raises:
        KafkaError: no broker answered within the limit.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id=f"{service}-restore",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_uncommitted",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
    )
    try:
        await while_beating(consumer.start(), START_WITHIN_S, beat)
        yield OwnRecords(consumer, beat)
    finally:
        await close(consumer.stop())
