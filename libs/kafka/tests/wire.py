"""A topic as a relay would fill it, and inboxes that read it into a fresh log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

import asyncpg
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from crm_events.codec import to_record
from crm_events.envelope import Recorded
from crm_kafka.inbox import Inbox
from crm_kafka.inbox.marks import read_marks
from crm_store.errors import is_dependency_error

IDS = UUID("2d0f1c6e-9a55-4d7e-8f0a-3c6b1e5a7d90")
AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
PATIENCE_S = 60.0

Message = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]


class Number(NamedTuple):
    """A record as far as admission looks at it."""

    offset: int
    sequence: int | None
    event_id: str | None


def event_id(partition: int, number: int, branch: str = "") -> UUID:
    return uuid5(IDS, f"event {branch}{partition} {number}")


def expected(last: int, partition: int = 0) -> list[tuple[int, UUID]]:
    """What the log holds of a partition of which everything was taken up to a number."""
    return [(number, event_id(partition, number)) for number in range(1, last + 1)]


def message(
    partition: int, number: int, *, branch: str = "", data: str = "", **headers: bytes | None
) -> Message:
    """The record number `number` of a partition; `headers` replace, None removes."""
    key, value, written = to_record(
        Recorded(
            event_id=event_id(partition, number, branch),
            type="probe.thing.counted",
            schema_version=1,
            stream_id=uuid5(IDS, f"stream {partition} {number}"),
            stream_version=1,
            partition_key=uuid5(IDS, f"customer {number % 3}"),
            occurred_at=AT + timedelta(seconds=number),
            recorded_at=AT + timedelta(seconds=number, microseconds=5),
            data=data or f'{{"number":{number}}}',
            sequence=number,
            meta={"correlationid": f"c-{number}"},
        ),
        publisher="probe",
    )
    kept = [(name, content) for name, content in written if name not in headers]
    return key, value, kept + [(n, c) for n, c in headers.items() if c is not None]


def record(
    tp: TopicPartition, number: int, offset: int | None = None, **changes: bytes | None
) -> ConsumerRecord[bytes, bytes]:
    """The same as it is polled; `changes` are its value and headers."""
    headers = {name: content for name, content in changes.items() if name != "value"}
    key, value, written = message(tp.partition, number, **headers)
    return ConsumerRecord(
        tp.topic, tp.partition, number - 1 if offset is None else offset, 1_700_000, 0,
        key, changes.get("value", value), None, 0, 0, tuple(written),
    )  # fmt: skip


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Running:
    inbox: Inbox
    stop: asyncio.Event
    task: asyncio.Task[None]


@dataclass
class Wire:
    """A topic, what was sent to it, and inboxes of one service that read it."""

    pool: asyncpg.Pool
    bootstrap: str
    topic: str
    producer: AIOKafkaProducer
    admin: AIOKafkaAdminClient
    beats: int = 0
    wakes: int = 0
    inboxes: list[Inbox] = field(default_factory=list)

    async def create(self, partitions: int = 1) -> None:
        made = await self.admin.create_topics([NewTopic(self.topic, partitions, 1)])
        assert made.topic_errors[0][1] in {0, 36}
        await until(self._is_there)

    async def recreate(self, partitions: int = 1) -> None:
        await self.admin.delete_topics([self.topic])

        async def gone() -> bool:
            return self.topic not in await self.admin.list_topics()

        await until(gone)

        async def made() -> bool:
            answer = await self.admin.create_topics([NewTopic(self.topic, partitions, 1)])
            return answer.topic_errors[0][1] == 0

        await until(made)
        await self.renew_producer()

    async def renew_producer(self) -> None:
        await self.producer.stop()
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await self.producer.start()
        await until(self._is_there)

    async def truncate(self, before: int, partition: int = 0) -> None:
        tp = TopicPartition(self.topic, partition)
        await self.admin.delete_records({tp: RecordsToDelete(before_offset=before)})

    async def send(self, messages: Iterable[Message], partition: int = 0) -> None:
        sent = [
            await self.producer.send(self.topic, value, key, partition=partition, headers=headers)
            for key, value, headers in messages
        ]
        for future in sent:
            await future

    async def send_numbers(self, numbers: Iterable[int], partition: int = 0) -> None:
        await self.send([message(partition, number) for number in numbers], partition)

    def inbox(self, instance: str = "0", **other: object) -> Inbox:
        made = Inbox(
            pool=other.get("pool", self.pool),
            bootstrap=other.get("bootstrap", self.bootstrap),
            service=other.get("service", f"service-{self.topic}"),
            topics=other.get("topics", [self.topic]),
            instance=instance,
            wake=self._wake,
        )
        self.inboxes.append(made)
        return made

    async def begin(self, instance: str = "0", **other: object) -> Running:
        inbox, stop = self.inbox(instance, **other), asyncio.Event()
        return Running(inbox, stop, asyncio.create_task(inbox.run(stop, beat=self._beat)))

    async def end(self, running: Running) -> None:
        """Ask it to stop, and wait until it left by itself."""
        running.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await running.task

    @asynccontextmanager
    async def running(self, instance: str = "0", **other: object) -> AsyncIterator[Inbox]:
        """An inbox that runs meanwhile."""
        running = await self.begin(instance, **other)
        try:
            yield running.inbox
        finally:
            await self.end(running)

    async def taken_through(self, number: int, partition: int = 0) -> None:
        """Wait until the partition's mark stands at that number."""
        tp = TopicPartition(self.topic, partition)

        async def reached() -> bool:
            try:
                marks = await read_marks(self.pool, [tp])
            except Exception as error:  # a test may end our own session as well
                if not is_dependency_error(error):
                    raise
                return False
            return tp in marks and marks[tp].sequence >= number

        await until(reached)

    async def heard(self, partition: int = 0) -> list[tuple[int, UUID]]:
        """Number and event id of the rows of a partition, in log order."""
        rows = await self.pool.fetch(
            "select l.sequence, l.event_id from log l where l.topic = $1 and l.partition = $2 "
            "order by l.epoch, l.xid, l.gp",
            self.topic,
            partition,
        )
        return [(row["sequence"], row["event_id"]) for row in rows]

    async def _is_there(self) -> bool:
        found = await self.admin.describe_topics([self.topic])
        return all(
            topic["error_code"] == 0 and all(p["leader"] >= 0 for p in topic["partitions"])
            for topic in found
        )

    def _beat(self) -> None:
        self.beats += 1

    def _wake(self) -> None:
        self.wakes += 1
