"""The relay: what this service decided goes to Kafka, in log order, numbered by the log alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaError, KafkaTimeoutError
from crm_store import metrics, tracing
from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error
from crm_store.log.wakeups import next_turn
from crm_store.tasks import give_up
from crm_store.tracing import Operation

from crm_kafka.producer import while_beating
from crm_kafka.relay.page import (
    EVENT_ID,
    META,
    RECORDED_AT_MS,
    TOPIC,
    TYPE,
    read_again,
    read_next,
)
from crm_kafka.relay.progress import (
    MAIN,
    Cursor,
    LostPositionError,
    Progress,
    finish,
    load,
    main_version,
    move,
)
from crm_kafka.relay.publisher import Publisher
from crm_kafka.topics import ensure_topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import asyncpg
    from crm_events.topics import Contract
    from crm_store.clock import Clock
    from crm_store.lease import Lease
    from crm_store.log.position import Position

    from crm_kafka.relay.page import Page
    from crm_kafka.relay.progress import Numbered
    from crm_kafka.relay.publisher import Parcel

WITHOUT_LEASE_S: Final = 0.5
LOOK_FOR_REWINDS_S: Final = 1.0
CHECK_TOPICS_WITHIN_S: Final = 30.0
LAST_PAGE_S: Final = 5.0
"""From `stop` on, for Kafka to take the page that is in flight. The next start sends it again."""
REBUILDS_IN_A_ROW: Final = 5
"""Fatal errors of new producers, one after the other, before the relay gives up loudly."""

_logger = structlog.stdlib.get_logger(__name__)


class Relay:
    """Sends every own row that has a topic, whether this release knows topic and type or not.

    The number of a row is its ordinal among the own rows of its topic partition, so any relay,
    of any release, gives it the same one: readers drop what they have and see what they miss.
    """

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        contract: Contract,
        service: str,
        bootstrap: str,
        replication_factor: int,
        min_insync: int,
        lease: Lease,
        wake: asyncio.Event,
        clock: Clock,
        settled: Callable[[Callable[[], None]], Awaitable[bool]],
    ) -> None:
        """`settled` is asked, with what beats meanwhile, before a log is sent from."""
        self._pool = pool
        self._topics = contract.published_by(service)
        self._bootstrap = bootstrap
        self._replication_factor = replication_factor
        self._min_insync = min_insync
        self._lease = lease
        self._wake = wake
        self._clock = clock
        self._publisher = Publisher(bootstrap=bootstrap, service=service)
        self._settled = settled
        self._progress: Progress | None = None
        self._ahead: asyncio.Task[Parcel] | None = None
        self._reading: asyncio.Task[Page] | None = None
        self._topics_checked = False
        self._looked_at = 0.0
        self._owed_since_ms: int | None = None

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Send until `stop`, while the lease is held; finishes the page it is in, if Kafka lets it.

        Raises:
            WrongTopicError: a topic is not as the contract wants it.
            RecordTooLargeError: a row cannot be sent.
        """
        loop = asyncio.get_running_loop()
        told_at: float | None = None

        def show_life() -> None:
            nonlocal told_at
            beat()
            self._show_age()
            if stop.is_set():
                told_at = told_at or loop.time()
                if loop.time() - told_at > LAST_PAGE_S:
                    raise KafkaTimeoutError("told to end while Kafka was away")

        failed = rebuilt = 0
        try:
            while not stop.is_set():
                show_life()
                if not await self._lease.wait_held(WITHOUT_LEASE_S):
                    await self._forget()
                    self._owed_since_ms = None  # it is another's to tell
                    continue
                began = loop.time()
                try:
                    sent = await self.turn(beat=show_life)
                    failed = rebuilt = 0
                except LostPositionError as error:
                    _logger.warning("relay.lost_position", reason=str(error))
                    sent = True
                except Exception as error:
                    rebuilt += not is_dependency_error(error)
                    if not self._goes_on(error, rebuilt):
                        raise
                    # It may be that a topic was deleted: whoever publishes it makes it again.
                    self._topics_checked = False
                    await self._forget()
                    await pause(stop, backoff(failed))
                    failed += 1
                    continue
                await next_turn(self._wake, began=began, found=sent)
        finally:
            await self.close()

    async def turn(self, *, beat: Callable[[], None] = lambda: None) -> bool:
        """One page of everything, and one of each topic that is sent again. Was there anything?

        Raises:
            LostPositionError: another relay leads, or someone rewound a topic. Nothing is lost:
                the next turn begins with what the database says.
        """
        if not self._topics_checked:
            await self._check_topics(beat)
        if self._progress is None and not await self._settled(beat):
            return False
        parcel = await self._next_parcel(beat)
        if parcel.page.full and not self.progress.again:
            # While Kafka takes this page the next is made ready, and the one behind it read.
            self._ahead = asyncio.create_task(self._make_ahead(parcel, beat))
        await self.move_position(parcel.page, await self.send(parcel, beat=beat))
        rewound = tuple(self.progress.again)
        for topic in rewound:
            await self._send_again(topic, beat)
        if parcel.page.end is not None or rewound:
            return True
        await self._look_for_rewinds()
        return False

    async def close(self) -> None:
        """Give up what is under way; the log has it all."""
        await self._forget()
        await self._publisher.close()

    @property
    def progress(self) -> Progress:
        if self._progress is None:
            raise LostPositionError("nothing is loaded yet")
        return self._progress

    async def read_page(self) -> Page:
        """The next page of all topics but those that are being sent again."""
        if self._progress is None:
            self._progress = await load(self._pool)
        return await read_next(self._pool, self._progress.main, without=list(self._progress.again))

    async def number(self, page: Page, *, beat: Callable[[], None] = lambda: None) -> Parcel:
        """Give each row of the page its number, a function of the log alone."""
        return await self._publisher.parcel(page, self.progress.sequence, beat=beat)

    async def send(
        self, parcel: Parcel, *, beat: Callable[[], None] = lambda: None
    ) -> Sequence[Numbered]:
        """Send what was numbered. Returns when Kafka has acknowledged every record."""
        began_ns = time.time_ns()
        sent = await self._publisher.send(parcel, beat=beat)
        events = ((row[TOPIC], row[TYPE], row[EVENT_ID], row[META]) for row in parcel.page.rows)
        tracing.tell(Operation.SEND, events, began_ns=began_ns)
        for last in sent:
            count = last.sequence - self.progress.sequence(last.topic, last.partition)
            metrics.RELAY_RECORDS.labels(topic=last.topic).inc(count)
        return sent

    async def move_position(self, page: Page, sent: Sequence[Numbered]) -> None:
        """Say in the database that the page is sent, if this relay still leads.

        Raises:
            LostPositionError: it does not, or a topic was rewound meanwhile.
        """
        progress, name = self.progress, page.cursor.name
        cursor = progress.main if name == MAIN else progress.again[name]
        try:
            if page.end is not None:
                await move(self._pool, progress, cursor, page.end, sent)
            elif name != MAIN:
                await finish(self._pool, progress, cursor)
                _logger.info("relay.sent_again", topic=name)
        except LostPositionError:
            await self._forget()
            raise

    async def _next_parcel(self, beat: Callable[[], None]) -> Parcel:
        ahead, self._ahead = self._ahead, None
        parcel = None if ahead is None else await ahead
        if parcel is None or parcel.page.cursor.position != self.progress.main.position:
            parcel = await self.number(await self.read_page(), beat=beat)
        rows = parcel.page.rows
        self._owed_since_ms = rows[0][RECORDED_AT_MS] if rows else None
        return parcel

    async def _make_ahead(self, parcel: Parcel, beat: Callable[[], None]) -> Parcel:
        """The page behind one that is in flight, numbered as if that had arrived."""
        progress = self.progress
        page = await self._read_ahead(parcel.page.end or progress.main.position)

        def last(topic: str, partition: int) -> int:
            in_flight = parcel.sequence(topic, partition)
            return progress.sequence(topic, partition) if in_flight is None else in_flight

        return await self._publisher.parcel(page, last, beat=beat)

    async def _read_ahead(self, position: Position) -> Page:
        """The page behind a position; the one behind that is being read when this returns."""
        reading, self._reading = self._reading, None
        page = None if reading is None else await reading
        if page is None or page.cursor.position != position:
            page = await read_next(self._pool, Cursor(MAIN, position, 0), without=())
        if page.full and page.end is not None:
            behind = Cursor(MAIN, page.end, 0)
            self._reading = asyncio.create_task(read_next(self._pool, behind, without=()))
        return page

    async def _send_again(self, topic: str, beat: Callable[[], None]) -> None:
        """One page of a rewound topic, behind `main`; level with it, the topic goes along again.

        Rows that came meanwhile are behind `main` too, so this sees the end of every short page.
        """
        for _ in range(2):
            progress = self.progress
            page = await read_again(self._pool, progress.again[topic], until=progress.main.position)
            sent = await self.send(await self.number(page, beat=beat), beat=beat)
            await self.move_position(page, sent)
            if page.full or page.end is None:
                return

    async def _look_for_rewinds(self) -> None:
        """An idle relay moves nothing: it would notice neither a rewound topic nor a restore."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= LOOK_FOR_REWINDS_S:
            self._looked_at = now
            if await main_version(self._pool) != self.progress.main.version:
                await self._forget()

    async def _check_topics(self, beat: Callable[[], None]) -> None:
        ensuring = ensure_topics(
            self._bootstrap,
            self._topics,
            replication_factor=self._replication_factor,
            min_insync=self._min_insync,
        )
        await while_beating(ensuring, CHECK_TOPICS_WITHIN_S, beat)
        self._topics_checked = True

    async def _forget(self) -> None:
        """What this relay believes may be stale: the database knows."""
        self._progress = None
        tasks = [task for task in (self._ahead, self._reading) if task is not None]
        self._ahead = self._reading = None
        await give_up(tasks)

    def _goes_on(self, error: Exception, rebuilt: int) -> bool:
        if is_dependency_error(error):
            _logger.warning("relay.waiting", error=type(error).__name__, reason=str(error))
            return True
        if isinstance(error, KafkaError) and rebuilt <= REBUILDS_IN_A_ROW:
            metrics.RELAY_REBUILT_PRODUCERS.inc()
            _logger.warning("relay.rebuilt_producer", error=type(error).__name__)
            return True
        return False

    def _show_age(self) -> None:
        since = self._owed_since_ms
        age = 0.0 if since is None else max(0.0, self._clock().timestamp() - since / 1000)
        metrics.RELAY_AGE_SECONDS.set(age)
