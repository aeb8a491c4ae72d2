"""Opening the consumer: a handler-less FastStream subscriber, read by a loop of our own.

FastStream's own loop acknowledges before it handles, swallows what a handler raises and skips
records of other partitions when one batch is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from crm_kafka.consumer import check_alive, close
from crm_kafka.inbox.waiting import beating

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from faststream.security import BaseSecurity

DRAIN_S: Final = 3.0
"""How long a rebalance waits for the statement that is under way."""

SESSION_TIMEOUT_MS: Final = 6_000
HEARTBEAT_INTERVAL_MS: Final = 500  # by which the others learn that one left or came
REBALANCE_TIMEOUT_MS: Final = 10_000  # above the drain
REBALANCE_LIMIT_S: Final = 25.0
"""Above what a rebalance takes at most, with a request that got lost: longer, and it is none."""
MAX_POLL_INTERVAL_MS: Final = 86_400_000  # an outage of PostgreSQL is no reason to leave the group
METADATA_MAX_AGE_MS: Final = 5_000  # a topic that comes back is found within
REQUEST_TIMEOUT_MS: Final = 10_000
FETCH_MAX_WAIT_MS: Final = 100  # also how long a partition just sought may wait for a fetch
FETCH_MAX_BYTES: Final = 8 * 1024 * 1024
PARTITION_FETCH_BYTES: Final = 1024 * 1024


class Assignment(ConsumerRebalanceListener):
    """What the group gave this member; `turn` counts the changes.

    Heartbeats stop while a listener runs and what it raises is swallowed, so it only notes.
    """

    def __init__(self) -> None:
        self.turn = 0
        self.partitions: frozenset[TopicPartition] = frozenset()
        self.settled = False  # no rebalance is under way
        self.unsettled_at = time.monotonic()  # since when one is, while it is
        self.changed = asyncio.Event()
        self.idle = asyncio.Event()  # no statement is under way
        self.idle.set()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        del revoked  # assignors are eager: all of them
        self.turn += 1
        self.unsettled_at = time.monotonic()
        self.settled = False
        self.partitions = frozenset()
        # Whoever takes over reads marks that are settled. Heartbeats go on meanwhile.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.idle.wait(), DRAIN_S)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.turn += 1
        self.settled = True
        self.partitions = frozenset(assigned)
        self.changed.set()


@asynccontextmanager
async def broker_of(
    bootstrap: str, *, security: BaseSecurity | None = None
) -> AsyncGenerator[KafkaBroker]:
    """A broker that only consumes: it opens no producer and no admin client."""
    broker = KafkaBroker(
        bootstrap.split(","),  # FastStream takes a text for one address
        consumer_only=True,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        security=security,
        logger=None,
    )
    try:
        yield broker
    finally:
        await close(broker.stop())


async def existing(broker: KafkaBroker, topics: Sequence[str]) -> tuple[str, ...]:
    """Those of the topics that are there. Raises KafkaConnectionError when no broker answers."""
    build = await broker.connect()
    client = build(group_id=None)
    try:
        await client.start()
        there = await client.topics()
    finally:
        await close(client.stop())
    return tuple(topic for topic in topics if topic in there)


@asynccontextmanager
async def open_consumer(  # noqa: PLR0913  # each named at the call
    broker: KafkaBroker,
    topics: Sequence[str],
    *,
    group: str,
    instance: str,
    assignment: Assignment,
    beat: Callable[[], None],
    stop: asyncio.Event,
) -> AsyncGenerator[AIOKafkaConsumer]:
    """A member of the group, entered when it has its first assignment.

    A member that is told to `stop` leaves the group, so that the others take over at once. One that
    ends otherwise keeps its place until its session is over: it comes back under its name, and the
    others do not stop meanwhile.

    Raises StoppedError, and what aiokafka raises when the brokers are away.
    """
    subscriber = broker.subscriber(
        *topics,
        batch=True,
        ack_policy=AckPolicy.MANUAL,
        group_id=group,
        group_instance_id=f"{instance}.{_digest(topics)}",
        auto_offset_reset="none",
        listener=assignment,
        isolation_level="read_uncommitted",  # nobody uses Kafka transactions
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        fetch_max_bytes=FETCH_MAX_BYTES,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
    )
    try:
        await beating(broker.start(), beat=beat, stop=stop)
        consumer = subscriber.consumer
        if type(consumer) is not AIOKafkaConsumer:
            raise TypeError(f"FastStream's consumer is a {type(consumer).__name__}")
        yield consumer
    finally:
        if stop.is_set() and isinstance(subscriber.consumer, AIOKafkaConsumer):
            _leave_when_stopped(subscriber.consumer)
        await close(subscriber.stop())


def _leave_when_stopped(consumer: AIOKafkaConsumer) -> None:
    """Have a static member say goodbye as others do: the client leaves it to its session's end."""
    setattr(_coordinator(consumer), "_group_instance_id", None)  # noqa: B010  # as in `_coordinator`


def member_id(consumer: AIOKafkaConsumer) -> str:
    """The id under which the group knows this member; empty outside of one."""
    return str(_coordinator(consumer).member_id)


def _coordinator(consumer: AIOKafkaConsumer) -> Any:  # noqa: ANN401  # a class of the client's own
    # aiokafka has no public name for it; tests hold this to the installed version.
    return getattr(consumer, "_coordinator")  # noqa: B009


def check_member(consumer: AIOKafkaConsumer, assignment: Assignment) -> None:
    """Ask a member whether it is in its group, or still tries to get in, and whether it fetches.

    What went wrong with its group the client tells in a poll, and it goes no further until it has
    told; who has no partitions does not poll. A task of the client's that has ended is told by
    nobody, or as if a record could not be unpacked.

    Raises KafkaError: the consumer is to be opened anew.
    """
    check_alive(consumer)
    coordinator = _coordinator(consumer)
    if coordinator._coordination_task.done():  # noqa: SLF001  # as in `_coordinator`
        raise KafkaError("the consumer's part in its group ended by itself")
    coordinator.check_errors()
    unsettled_s = time.monotonic() - assignment.unsettled_at
    if not assignment.settled and unsettled_s > REBALANCE_LIMIT_S:
        raise KafkaTimeoutError(f"a rebalance has not ended after {unsettled_s:.0f} s")


async def first_offsets(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """The offset of the first record of each, or where it would be."""
    return await consumer.beginning_offsets(list(partitions)) if partitions else {}


def _digest(topics: Sequence[str]) -> str:
    """The part of a static member's name that follows its topics.

    A static member that comes back within its session is given what it had before, also when it
    asks for other topics now.
    """
    return hashlib.sha256("\n".join(sorted(topics)).encode()).hexdigest()[:8]
