"""The loop that copies subscribed topics into the log, and outlives every outage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaError

from crm_chassis.database import pause
from crm_chassis.errors import backoff, is_dependency_error
from crm_chassis.inbox.consumer import (
    Assignment,
    broker_of,
    existing,
    has_given_up,
    open_consumer,
)
from crm_chassis.inbox.member import LOG_EACH, Member
from crm_chassis.inbox.pace import Pace
from crm_chassis.inbox.reclaims import Reclaims
from crm_chassis.inbox.reporting import Courtesy, alert, measure
from crm_chassis.inbox.waiting import StoppedError, beating

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import asyncpg
    from aiokafka import AIOKafkaConsumer
    from faststream.kafka import KafkaBroker
    from faststream.security import BaseSecurity

LOOK_EVERY_S: Final = 1.0
TOPICS_EVERY_S: Final = 5.0

_logger = structlog.stdlib.get_logger(__name__)


class Inbox:
    """Takes every record of its topics into the log once, in the order of its number.

    Runs on every replica: the marks are the fence, a lease is not needed. `instance` is unique
    per replica and stays the same over restarts: a replica that comes back under it takes its
    partitions up again while the others go on.
    """

    def __init__(  # noqa: PLR0913  # collaborators and names, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        bootstrap: str,
        service: str,
        topics: Sequence[str],
        instance: str,
        wake: Callable[[], None],
        security: BaseSecurity | None = None,
    ) -> None:
        """`wake` is called when rows were committed."""
        self._pool = pool
        self._bootstrap = bootstrap
        self._service = service
        self._topics = tuple(topics)
        self._instance = f"{service}-{instance}"
        self._wake = wake
        self._security = security
        self._pace = Pace()
        self._reclaims = Reclaims(self._instance)
        self._failures = 0
        self._missing: frozenset[str] = frozenset()

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Read until `stop`, then finish the statement under way.

        Waits for Kafka, for PostgreSQL and for topics that are not there yet.

        Raises:
            InstanceTakenError: another live process uses this instance id.
        """
        while not stop.is_set():
            beat()
            try:
                async with broker_of(self._bootstrap, security=self._security) as broker:
                    await self._join(broker, stop, beat)
            except StoppedError:
                return
            except Exception as error:
                if not isinstance(error, KafkaError) and not is_dependency_error(error):
                    raise
                # Also what is not retriable in Kafka (a right to be granted, a coordinator that
                # gave up): a new consumer starts from the marks, so nothing is lost by it.
                if self._failures % LOG_EACH == 0:
                    _logger.warning("inbox.reopening", error=repr(error))
                await pause(stop, backoff(self._failures))
                self._failures += 1

    async def _join(
        self, broker: KafkaBroker, stop: asyncio.Event, beat: Callable[[], None]
    ) -> None:
        there = await beating(existing(broker, self._topics), beat=beat, stop=stop)
        missing = frozenset(self._topics) - frozenset(there)
        if missing and missing != self._missing:
            _logger.warning("inbox.topics_missing", topics=sorted(missing))
        self._missing = missing
        if not there:
            await pause(stop, backoff(self._failures))
            self._failures += 1
            return
        assignment = Assignment()
        async with open_consumer(
            broker,
            there,
            group=self._service,
            instance=self._instance,
            assignment=assignment,
            beat=beat,
            stop=stop,
        ) as consumer:
            member = Member(
                pool=self._pool,
                consumer=consumer,
                assignment=assignment,
                pace=self._pace,
                reclaims=self._reclaims,
                wake=self._wake,
                beat=beat,
            )
            await self._read(member, consumer, missing, stop, beat)

    async def _read(
        self,
        member: Member,
        consumer: AIOKafkaConsumer,
        missing: frozenset[str],
        stop: asyncio.Event,
        beat: Callable[[], None],
    ) -> None:
        """Until `stop`, or until a missing topic came."""
        courtesy = Courtesy(consumer)
        looked_at = topics_at = time.monotonic()
        try:
            while not stop.is_set():
                await member.turn(stop)
                now = time.monotonic()
                if now - looked_at >= LOOK_EVERY_S:
                    looked_at = now
                    if has_given_up(consumer):
                        raise KafkaError("the consumer ended by itself")
                    self._failures = 0 if member.claims else self._failures
                    alert(member.readings, now=now)
                    measure(consumer, member.readings)
                    courtesy.offer(dict(member.written), now=now)
                    await member.look_again(now=now)
                if missing and now - topics_at >= TOPICS_EVERY_S:
                    topics_at = now
                    if missing & await beating(consumer.topics(), beat=beat, stop=stop):
                        return
        finally:
            await member.leave()
            await courtesy.close()
            await courtesy.commit(dict(member.written))
