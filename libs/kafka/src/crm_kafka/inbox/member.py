"""One member of the group, from its first assignment until it leaves: claim, poll, decide, take.

Two statements are never under way at once, but the next records are polled and decided while one
is: their marks are in memory only, and forgotten with everything else when it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from crm_store import metrics, tracing
from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error
from crm_store.tracing import Operation

from crm_kafka.inbox.consumer import check_member, first_offsets, member_id
from crm_kafka.inbox.marks import read_marks, take_up
from crm_kafka.inbox.reading import BEGINNING, Phase, Reading
from crm_kafka.inbox.reporting import report, silence
from crm_kafka.inbox.rows import hear_each
from crm_kafka.inbox.taking import Batch, arguments_of, is_lost, take, taken_of
from crm_kafka.inbox.waiting import beating

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    import asyncpg
    from aiokafka import AIOKafkaConsumer

    from crm_kafka.inbox.admission import Mark
    from crm_kafka.inbox.consumer import Assignment
    from crm_kafka.inbox.pace import Pace
    from crm_kafka.inbox.reclaims import Reclaims

T = TypeVar("T")
Polled = dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]

POLL_MS: Final = 200
POLL_LIMIT_S: Final = 1.0  # a poll waits for a rebalance to end, however long
ALONE_MS: Final = 1_000
ALONE_LIMIT_S: Final = 2.0
WAIT_S: Final = 0.5
FETCH_S: Final = 0.002  # between looks at what the client has fetched while a statement runs
LOG_EACH: Final = 30  # with the longest wait about twice a minute
CHUNK: Final = 250  # records decided in one go: what else runs in this process waits so long
LEAVE_ALONE_S: Final = 60.0  # a partition whose records the client cannot unpack

_logger = structlog.stdlib.get_logger(__name__)


class Member:
    """Reads the partitions that the group gave to this process."""

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        pace: Pace,
        reclaims: Reclaims,
        wake: Callable[[], None],
        beat: Callable[[], None],
    ) -> None:
        self.readings: dict[TopicPartition, Reading] = {}
        self.written: dict[TopicPartition, Mark] = {}
        self.recorded: dict[TopicPartition, str] = {}
        self.claims = 0
        self._pool = pool
        self._consumer = consumer
        self._assignment = assignment
        self._pace = pace
        self._reclaims = reclaims
        self._wake = wake
        self._beat = beat
        self._turn = -1  # of the assignment that was claimed
        self._failures = 0
        self._under_way: asyncio.Task[Batch] | None = None
        self._left_alone: dict[TopicPartition, float] = {}

    async def turn(self, stop: asyncio.Event) -> None:
        """One round. Raises KafkaError when the consumer is to be opened anew."""
        self._beat()
        check_member(self._consumer, self._assignment)
        try:
            if self._turn != self._assignment.turn:
                await self._settle()
                await self._claim(stop)
                return
            batch = await self._gather(stop)
            written = await self._settle()
            if batch.rows and self._turn == self._assignment.turn:
                self._begin(batch)
                await asyncio.sleep(0)  # let it go out before the next records are decided
            # Some milliseconds, of 100,000 objects: the server has work again while they pass.
            del written
        except OffsetOutOfRangeError as error:
            await self._rewind(error)
        except (IllegalStateError, NoOffsetForPartitionError):
            # Of partitions that were assigned during the poll: where to begin is not said yet.
            if self._turn == self._assignment.turn:
                raise
        except KafkaError:
            raise
        except Exception as error:
            if not is_lost(error) and not is_dependency_error(error):
                raise
            await self._forget(error, stop)

    async def leave(self) -> None:
        """Let the statement under way end; its outcome is in the marks."""
        metrics.INBOX_PARTITIONS.set(0)
        try:
            await self._settle()
        except Exception as error:
            if not is_lost(error) and not is_dependency_error(error):
                raise

    async def look_again(self, *, now: float) -> None:
        """See whether partitions that hold still are what they were."""
        for tp, reading in self.readings.items():
            if reading.is_due_to_look_again(now):
                await self._seek(tp, reading.look_again(now=now))

    # --- claiming -------------------------------------------------------------------------

    async def _claim(self, stop: asyncio.Event) -> None:
        """Read the marks of what was assigned, in a transaction of their own, and seek."""
        turn, partitions = self._assignment.turn, self._assignment.partitions
        self._assignment.changed.clear()
        self.written.clear()
        metrics.INBOX_PARTITIONS.set(0)
        if not partitions:
            if self._assignment.settled:  # more members than partitions
                self._keep(frozenset())
            await self._await_change()
            return
        self._reclaims.note(member_id(self._consumer), now=time.monotonic())
        firsts = await self._beating(first_offsets(self._consumer, partitions), stop)
        ends = await self._beating(self._consumer.end_offsets(list(partitions)), stop)
        marks = await self._beating(read_marks(self._pool, partitions), stop)
        if new := partitions - marks.keys():
            await self._beating(take_up(self._pool, {tp: ends[tp] for tp in new}), stop)
            marks = await self._beating(read_marks(self._pool, partitions), stop)
        if turn != self._assignment.turn:
            return
        self._keep(partitions)
        for tp in partitions:
            reading, offset = Reading.begin(marks[tp], first=firsts[tp], end=ends[tp])
            if (known := self.readings.get(tp)) is not None and known.mark == marks[tp]:
                reading.holding = known.holding
            self.readings[tp] = reading
            self._consumer.seek(tp, firsts[tp] if offset == BEGINNING else offset)
            if offset == BEGINNING and marks[tp].offset >= 0:
                _logger.warning("inbox.mark_not_there", topic=tp.topic, partition=tp.partition)
        self._turn = turn
        self._failures = 0
        self.claims += 1
        metrics.INBOX_PARTITIONS.set(len(partitions))
        _logger.info("inbox.claimed", partitions=len(partitions))

    async def _await_change(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._assignment.changed.wait(), WAIT_S)

    def _keep(self, partitions: frozenset[TopicPartition]) -> None:
        for tp in self.readings.keys() - partitions:
            del self.readings[tp]
            silence(tp)

    # --- polling --------------------------------------------------------------------------

    async def _poll(self, stop: asyncio.Event, *, timeout_ms: int, most: int) -> Polled:
        ready = self._ready()
        if not ready:
            await pause(stop, WAIT_S)
            return {}
        try:
            async with asyncio.timeout(POLL_LIMIT_S):
                polled = await self._consumer.getmany(
                    *ready, timeout_ms=timeout_ms, max_records=most
                )
        except TimeoutError:
            return {}  # a rebalance is under way
        except (KafkaError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever unpacking a record may raise
            # Or what ended a task of the client's own.
            check_member(self._consumer, self._assignment)
            await self._find_unpackable(ready, error)
            return {}
        # Between an assignment and its claim the client may read from anywhere.
        return polled if self._turn == self._assignment.turn else {}

    def _ready(self) -> list[TopicPartition]:
        """The partitions that this loop has sought itself."""
        now = time.monotonic()
        return [
            tp
            for tp, reading in self.readings.items()
            if reading.phase is not Phase.STOPPED and self._left_alone.get(tp, 0.0) <= now
        ]

    async def _find_unpackable(self, ready: Sequence[TopicPartition], error: Exception) -> None:
        """The client cannot unpack a record, and does not say whose: try each partition alone.

        Raises `error` where none of them fails alone.
        """
        found = [tp for tp in ready if not await self._unpacks(tp)]
        if not found:
            raise error
        for tp in found:
            self._left_alone[tp] = time.monotonic() + LEAVE_ALONE_S
            metrics.INBOX_STOPPED.labels(topic=tp.topic, partition=str(tp.partition)).set(1)
            _logger.error(
                "inbox.unpackable", topic=tp.topic, partition=tp.partition,
                error=type(error).__name__,
            )  # fmt: skip
        self._turn = -1  # what was polled with it is lost to the client: read it again

    async def _unpacks(self, tp: TopicPartition) -> bool:
        self._beat()
        self._consumer.seek(tp, self.readings[tp].next_offset)
        try:
            async with asyncio.timeout(ALONE_LIMIT_S):
                await self._consumer.getmany(
                    tp, timeout_ms=ALONE_MS, max_records=self._pace.records
                )
        except TimeoutError:
            return True  # a rebalance is under way: it is read again when it has ended
        except (KafkaError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001  # as above
            check_member(self._consumer, self._assignment)
            return False
        return True

    async def _rewind(self, error: OffsetOutOfRangeError) -> None:
        """The offset to read from is not there: read what is there from its beginning."""
        gone: Mapping[TopicPartition, int] = error.args[0]
        for tp in gone:
            reading = self.readings.get(tp)
            if reading is not None and reading.phase is not Phase.STOPPED:
                _logger.warning("inbox.out_of_range", topic=tp.topic, partition=tp.partition)
                await self._seek(tp, reading.from_beginning())
        await asyncio.sleep(backoff(0))

    async def _seek(self, tp: TopicPartition, offset: int | None) -> None:
        if offset is None:
            return
        if offset == BEGINNING:
            offset = (await self._beating(first_offsets(self._consumer, [tp]), None))[tp]
            self.readings[tp].next_offset = offset
        if self._turn == self._assignment.turn:
            self._consumer.seek(tp, offset)

    # --- deciding and taking --------------------------------------------------------------

    async def _gather(self, stop: asyncio.Event) -> Batch:
        """Poll and decide while a statement is under way, at most what the next may write.

        Its arguments are made here, too: where the batch is full before that statement ends, the
        server need not wait for them.
        """
        batch = Batch()
        try:
            await self._gather_into(batch, stop)
            if batch.rows and not batch.full:
                batch.arguments = arguments_of(batch)
        except BaseException:
            if batch.rows:
                self._turn = -1  # the marks in memory are ahead of what will be written
            raise
        return batch

    async def _gather_into(self, batch: Batch, stop: asyncio.Event) -> None:
        timeout_ms = POLL_MS
        while (room := self._pace.records - len(batch.rows)) > 0 and not batch.full:
            polled = await self._poll(stop, timeout_ms=timeout_ms, most=min(CHUNK, room))
            if not polled and (not batch.rows or self._turn != self._assignment.turn):
                return
            for tp, records in polled.items():
                await self._decide(tp, records, batch)
            if self._under_way is None:
                return
            timeout_ms = 0
            # What else runs here goes on, and the statement's bytes go out; or more is fetched.
            await asyncio.wait({self._under_way}, timeout=0 if polled else FETCH_S)
            self._beat()
            if self._under_way.done():
                return

    async def _decide(
        self, tp: TopicPartition, records: Sequence[ConsumerRecord[bytes, bytes]], batch: Batch
    ) -> None:
        """Add to the batch what is taken; moves the mark in memory."""
        reading = self.readings[tp]
        heard = hear_each(records)
        mark = reading.mark
        step = reading.advance(heard, now=time.monotonic())
        if step.taken:
            batch.add(tp, mark, [heard[index] for index in step.taken])
        report(tp, reading, step)
        await self._seek(tp, step.seek)

    def _begin(self, batch: Batch) -> None:
        self._assignment.idle.clear()
        self._under_way = asyncio.create_task(self._take(batch))

    async def _take(self, batch: Batch) -> Batch:
        began_ns = time.time_ns()
        try:
            taken = await take(self._pool, batch)
        finally:
            self._assignment.idle.set()
        self._wake()
        tracing.tell(Operation.RECEIVE, map(taken_of, batch.rows), began_ns=began_ns)
        self.written.update(batch.after())
        self.recorded.update(batch.recorded())
        self._pace.note(taken.records, taken.longest_s)
        return batch

    async def _settle(self) -> Batch | None:
        """Wait for the statement under way, and return what it wrote. Raises what it raised."""
        if self._under_way is None:
            return None
        task, self._under_way = self._under_way, None
        while not task.done():
            await asyncio.wait({task}, timeout=WAIT_S)
            self._beat()
        return task.result()

    async def _forget(self, error: Exception, stop: asyncio.Event) -> None:
        """What was decided may not have been written: the marks alone know."""
        self._turn = -1
        if self._under_way is not None:
            await self.leave()
        if is_lost(error):
            metrics.INBOX_LOST_MARKS.inc()
        if self._failures % LOG_EACH == 0:
            _logger.warning("inbox.interrupted", error=type(error).__name__, lost=is_lost(error))
        await pause(stop, backoff(self._failures))
        self._failures += 1

    async def _beating(self, coroutine: Coroutine[Any, Any, T], stop: asyncio.Event | None) -> T:
        return await beating(coroutine, beat=self._beat, stop=stop)
