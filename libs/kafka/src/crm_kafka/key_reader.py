"""The keys of contacts' keystore, copied here from Kafka: a destroyed one wins for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from crm_events.errors import BadKeyRecordError
from crm_events.keys import read_key_record
from crm_events.topics import KEYS_PARTITIONS, KEYS_TOPIC
from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error
from crm_store.log import epochs

from crm_kafka.consumer import check_alive, close
from crm_kafka.producer import while_beating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    import asyncpg
    from aiokafka import ConsumerRecord
    from crm_events.contacts import SubjectKeyRecord

RECORDS_AT_ONCE: Final = 500
POLL_MS: Final = 500
START_WITHIN_S: Final = 10.0
POSITION_WITHIN_S: Final = 10.0
REQUEST_TIMEOUT_MS: Final = 10_000

# Only what differs is written, so reading it all again at each start takes no transaction id.
TAKE: Final = """
insert into subject_key as k (key_id, kek_id, wrapped, destroyed)
select u.* from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
    as u(key_id, kek_id, wrapped, destroyed)
left join subject_key had on had.key_id = u.key_id
where had.key_id is null
   or (had.destroyed is null
       and (had.kek_id, had.wrapped, had.destroyed)
           is distinct from (u.kek_id, u.wrapped, u.destroyed))
on conflict (key_id) do update
    set kek_id = excluded.kek_id, wrapped = excluded.wrapped, destroyed = excluded.destroyed
    where k.destroyed is null
"""

_logger = structlog.stdlib.get_logger(__name__)


class KeyReader:
    """Follows contacts.keys from its beginning at each start; it is compacted, so that is short.

    Where it stands is kept in memory. It belongs to no consumer group. In an epoch of the log that
    it has not seen before, it begins anew: a database that was put back lacks what came later.
    """

    def __init__(
        self, *, pool: asyncpg.Pool, service: str, bootstrap: str, topic: str = KEYS_TOPIC
    ) -> None:
        self._pool = pool
        self._service = service
        self._bootstrap = bootstrap
        self._topic = topic
        self._at: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._run: tuple[int, datetime] | None = None  # the epoch and start of the server read into
        self.caught_up = asyncio.Event()
        """Set once everything is taken that was there when this began."""

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Follow until `stop`; waits for a broker, and for the topic to be there."""
        failed = 0
        while not stop.is_set():
            beat()
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                client_id=f"{self._service}-keys",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_uncommitted",
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                max_poll_records=RECORDS_AT_ONCE,
            )
            try:
                await while_beating(consumer.start(), START_WITHIN_S, beat)
                await while_beating(self._take_up(consumer), POSITION_WITHIN_S, beat)
                while not stop.is_set():
                    beat()
                    await self._turn(consumer, beat)
                    failed = 0
            except Exception as error:
                if not is_dependency_error(error):
                    raise
                _logger.warning("keys.waiting", error=type(error).__name__, reason=str(error))
            finally:
                await close(consumer.stop())
            await pause(stop, backoff(failed))
            failed += 1

    async def _turn(self, consumer: AIOKafkaConsumer, beat: Callable[[], None]) -> None:
        """One poll, at most 500 records, written in one statement."""
        check_alive(consumer)
        await self._begin_anew_if_restored(consumer, beat)
        batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_AT_ONCE)
        keys = _last_of_each(record for batch in batches.values() for record in batch)
        if keys:
            await self._pool.execute(
                TAKE,
                [key.key_id for key in keys],
                [key.kek_id for key in keys],
                [key.wrapped for key in keys],
                [key.destroyed for key in keys],
            )
        await while_beating(self._note_positions(consumer), POSITION_WITHIN_S, beat)
        if not self.caught_up.is_set() and all(
            self._at[place] >= end for place, end in self._ends.items()
        ):
            _logger.info("keys.caught_up", topic=self._topic)
            self.caught_up.set()

    async def _begin_anew_if_restored(
        self, consumer: AIOKafkaConsumer, beat: Callable[[], None]
    ) -> None:
        newest = await epochs.newest(self._pool)
        run = (newest.epoch, newest.run)
        if run == self._run:
            return
        if self._run is not None:
            _logger.info("keys.begins_anew", topic=self._topic, epoch=newest.epoch)
            self._at.clear()
            to_beginning = consumer.seek_to_beginning(*self._ends)
            await while_beating(to_beginning, POSITION_WITHIN_S, beat)
        self._run = run

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        for place in self._ends:
            self._at[place] = await consumer.position(place)

    async def _take_up(self, consumer: AIOKafkaConsumer) -> None:
        if self._topic not in await consumer.topics():
            raise UnknownTopicOrPartitionError(f"topic {self._topic} is not there yet")
        places = [TopicPartition(self._topic, partition) for partition in range(KEYS_PARTITIONS)]
        consumer.assign(places)
        if not self._ends:
            self._ends = await consumer.end_offsets(places)
        for place in places:
            if place in self._at:
                consumer.seek(place, self._at[place])


def _last_of_each(records: Iterable[ConsumerRecord[bytes, bytes]]) -> list[SubjectKeyRecord]:
    """What a batch says of each key: that it is destroyed, if any record does, else the last."""
    last: dict[str, SubjectKeyRecord] = {}
    for record in records:
        try:
            key = read_key_record(record.key, record.value)
        except BadKeyRecordError:
            _logger.exception("keys.unreadable", partition=record.partition, offset=record.offset)
            continue
        had = last.get(key.key_id)
        if had is None or had.destroyed is None:
            last[key.key_id] = key
    return list(last.values())
