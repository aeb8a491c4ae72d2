"""The loop that copies subscribed topics into the log, and outlives every outage."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaError
from crm_store.clock import utc_now
from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error
from crm_store.ids import new_id
from crm_store.lease import Lease

from crm_kafka.inbox.consumer import Assignment, broker_of, existing, open_consumer
from crm_kafka.inbox.member import LOG_EACH, Member
from crm_kafka.inbox.pace import Pace
from crm_kafka.inbox.reclaims import InstanceTakenError, Reclaims
from crm_kafka.inbox.reporting import Courtesy, alert, measure
from crm_kafka.inbox.waiting import StoppedError, beating

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import asyncpg
    from aiokafka import AIOKafkaConsumer
    from faststream.kafka import KafkaBroker
    from faststream.security import BaseSecurity

LOOK_EVERY_S: Final = 1.0
SEAT_EVERY_S: Final = 0.5
SEAT_S: Final = 4.0
"""How long a name may be another's before we give up: a killed process' lease ends sooner."""
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
        self._seat = Lease(pool, name=f"inbox {self._instance}", owner=str(new_id()))
        self._failures = 0
        self._missing: frozenset[str] = frozenset()

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Read until `stop`, then finish the statement under way.

        Waits for Kafka, for PostgreSQL and for topics that are not there yet.

        Raises:
            InstanceTakenError: another live process uses this instance id.
        """
        left = asyncio.Event()
        seated = asyncio.create_task(self._seat.run(left, beat=lambda: None))
        try:
            if await self._seated(seated, stop, beat):
                await self._keep_reading(stop, beat)
        finally:
            left.set()
            await seated

    async def _seated(
        self, renewing: asyncio.Task[None], stop: asyncio.Event, beat: Callable[[], None]
    ) -> bool:
        """Be the only one under this name; False if `stop` came first, or renewing failed.

        A process that was killed keeps its seat until the lease expires. The one that came later
        is refused, for Kafka would throw out the one that is at work.
        """
        refused_since: float | None = None
        while not stop.is_set() and not renewing.done():
            beat()
            if await self._seat.wait_held(SEAT_EVERY_S):
                return True
            now = time.monotonic()
            refused_since = (refused_since or now) if self._seat.refused else None
            if refused_since is not None and now - refused_since > SEAT_S:
                raise InstanceTakenError(self._instance)
        return False

    async def _keep_reading(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
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
                    if self._seat.refused:
                        raise InstanceTakenError(self._instance)
                    self._failures = 0 if member.claims else self._failures
                    alert(member.readings, now=now)
                    measure(consumer, member.readings, member.recorded, now=utc_now())
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
