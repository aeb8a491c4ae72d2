"""Subject keys on their way to the other services: the keystore is its own outbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaTimeoutError
from crm_events.contacts import SubjectKeyRecord
from crm_events.keys import to_key_record
from crm_events.topics import KEYS_PARTITIONS, KEYS_TOPIC
from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error
from crm_store.log.wakeups import woken

from crm_kafka.producer import SEND_WITHIN_S, abandon, start_producer, while_beating
from crm_kafka.topics import compacted, ensure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import asyncpg
    from aiokafka import AIOKafkaProducer, RecordMetadata
    from crm_store.lease import Lease

KEYS_AT_ONCE: Final = 500
POLL_S: Final = 0.2
GATHER_S: Final = 0.05
"""New keys wait so long for company: every row of the log wakes this up, few bring a key."""
WITHOUT_LEASE_S: Final = 0.5
CHECK_TOPIC_WITHIN_S: Final = 30.0
LAST_KEYS_S: Final = 5.0

# In a restored keystore a key may be whole that was destroyed since: it is not sent again.
UNSENT: Final = """
select k.key_id, k.kek_id, k.wrapped, k.destroyed from subject_key k
where k.unsent and log_is_open()
order by k.key_id limit $1
"""
# What changed since it was read, is owed again: a process that was frozen while it sent may have
# put an old key behind the record that says it is destroyed.
SETTLE: Final = """
update subject_key k
set unsent = (k.kek_id, k.wrapped, k.destroyed) is distinct from (u.kek_id, u.wrapped, u.destroyed)
from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
    as u(key_id, kek_id, wrapped, destroyed)
where k.key_id = u.key_id
"""

_logger = structlog.stdlib.get_logger(__name__)


class KeyOutbox:
    """Publishes keys that were minted, wrapped anew or destroyed, while the lease is held.

    The last record of a key is what its row says; a reader lets `destroyed` win for ever.
    """

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        service: str,
        bootstrap: str,
        replication_factor: int,
        min_insync: int,
        lease: Lease,
        wake: asyncio.Event,
        topic: str = KEYS_TOPIC,
    ) -> None:
        self._pool = pool
        self._service = service
        self._bootstrap = bootstrap
        self._replication_factor = replication_factor
        self._wanted = compacted(topic, KEYS_PARTITIONS, min_insync=min_insync)
        self._lease = lease
        self._wake = wake
        self._producer: AIOKafkaProducer | None = None
        self._topic_checked = False

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Send until `stop`; finishes what it is sending, if Kafka lets it.

        Raises:
            WrongTopicError: the topic is not compacted, or not within the hour.
        """
        loop = asyncio.get_running_loop()
        told_at: float | None = None

        def show_life() -> None:
            nonlocal told_at
            beat()
            if stop.is_set():
                told_at = told_at or loop.time()
                if loop.time() - told_at > LAST_KEYS_S:
                    raise KafkaTimeoutError("told to end while Kafka was away")

        failed = 0
        try:
            while not stop.is_set():
                show_life()
                if not await self._lease.wait_held(WITHOUT_LEASE_S):
                    continue
                try:
                    sent = await self.turn(beat=show_life)
                    failed = 0
                except Exception as error:
                    if not is_dependency_error(error):
                        raise
                    _logger.warning("keys.waiting", error=type(error).__name__, reason=str(error))
                    await pause(stop, backoff(failed))
                    failed += 1
                    continue
                if not sent:
                    await woken(self._wake, POLL_S)
                    await pause(stop, GATHER_S)
        finally:
            await self.close()

    async def turn(self, *, beat: Callable[[], None] = lambda: None) -> int:
        """Send what is owed, at most 500 keys; how many were there?"""
        if not self._topic_checked:
            ensuring = ensure(
                self._bootstrap, [self._wanted], replication_factor=self._replication_factor
            )
            await while_beating(ensuring, CHECK_TOPIC_WITHIN_S, beat)
            self._topic_checked = True
        keys = await self.read()
        # A frozen process wakes up here, and finds that it does not lead any more.
        if keys and self._lease.held:
            await self.send(keys, beat=beat)
            await self.settle(keys)
        return len(keys)

    async def read(self) -> Sequence[SubjectKeyRecord]:
        """Keys that are owed to Kafka."""
        rows = await self._pool.fetch(UNSENT, KEYS_AT_ONCE)
        return [SubjectKeyRecord(**dict(row.items())) for row in rows]

    async def send(
        self, keys: Sequence[SubjectKeyRecord], *, beat: Callable[[], None] = lambda: None
    ) -> None:
        """Send them. Returns when Kafka has acknowledged every one."""
        producer = self._producer
        if producer is None:
            client_id = f"{self._service}-keys"
            producer = await start_producer(self._bootstrap, client_id=client_id, beat=beat)
            self._producer = producer
        try:
            await while_beating(self._send_all(producer, keys), SEND_WITHIN_S, beat)
        except BaseException:
            await self.close()
            raise

    async def settle(self, keys: Sequence[SubjectKeyRecord]) -> None:
        """Nothing more is owed for those whose row still says what was sent."""
        await self._pool.execute(
            SETTLE,
            [key.key_id for key in keys],
            [key.kek_id for key in keys],
            [key.wrapped for key in keys],
            [key.destroyed for key in keys],
        )

    async def close(self) -> None:
        """Give the producer up. What it did not send is still owed."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await abandon(producer)

    async def _send_all(self, producer: AIOKafkaProducer, keys: Sequence[SubjectKeyRecord]) -> None:
        answers: list[asyncio.Future[RecordMetadata]] = []
        for record in keys:
            key, value = to_key_record(record)
            answer = await producer.send(self._wanted.name, value, key)
            answer.add_done_callback(_seen)
            answers.append(asyncio.shield(answer))
        await asyncio.gather(*answers)


def _seen(answer: asyncio.Future[RecordMetadata]) -> None:
    """Answers of a producer that was given up concern nobody: no complaint that none looked."""
    if not answer.cancelled():
        answer.exception()
