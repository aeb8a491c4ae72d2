"""One tail of the log that feeds all clients of a live stream in this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from crm_events.errors import UndecodableError, UnknownVersionError
from crm_store import metrics
from crm_store.database import pause
from crm_store.errors import backoff, is_dependency_error
from crm_store.log.logged import LoggedEvent
from crm_store.log.position import LAST, START, Position
from crm_store.log.wakeups import next_turn, woken
from sse_starlette import ServerSentEvent

from crm_chassis.http.live_client import Client, Limits
from crm_chassis.http.live_history import (
    is_far_behind,
    read_behind,
    read_end,
    read_id,
    token_of,
    write_id,
)
from crm_chassis.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import asyncpg
    from crm_events.topics import Contract
    from crm_store.clock import Clock

    from crm_chassis.http.live_client import Message, Stream

LOOK_S: Final = 1.0
STANDS_WITHIN_S: Final = 2.0
READING_AT_ONCE: Final = 2
"""Clients that catch up at the same time: other requests need the pool's connections too."""
RETRY_MS: Final = 2_000
"""After so long a client comes back; it is told at the beginning."""
RETRY_AFTER_S: Final = 5

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Told:
    position: Position
    message: Message
    chunk: bytes


class Feed:
    """A live stream. It reads the log while it has clients; `run` is a loop of the process."""

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        contract: Contract,
        stream: Stream,
        wake: asyncio.Event,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self.stream = stream
        self.limits = limits or Limits()
        self._pool = pool
        self._contract = contract
        self._wake = wake
        self._clock = clock
        self._clients: set[Client] = set()
        self._asked = asyncio.Event()
        self._standing = asyncio.Event()
        self._reading = asyncio.Semaphore(READING_AT_ONCE)
        self._stopped = False
        self._token = ""
        self._at = START
        metrics.LIVE_CLIENTS.labels(stream=stream.name).set_function(lambda: len(self._clients))

    async def listen(
        self, last_id: str | None, wants: Callable[[Message], bool] = lambda _: True
    ) -> Client:
        """A client from now on, or from behind `last_id` on. It is to be ended in any case.

        Answers 503 where there are too many, or the process ends or has no database yet.
        """
        if len(self._clients) >= self.limits.most_clients:
            raise _unavailable("busy", f"There are {self.limits.most_clients} clients already.")
        client = Client(self, wants)
        self._clients.add(client)
        try:
            await self._place(client, last_id)
        except BaseException:
            self.leave(client)
            raise
        return client

    def leave(self, client: Client) -> None:
        self._clients.discard(client)

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Feed the clients until `stop`, which ends them at once."""
        self._stopped, attempt = False, 0
        try:
            while not stop.is_set():
                beat()
                try:
                    await self._turn()
                    attempt = 0
                except Exception as error:
                    if not is_dependency_error(error):
                        raise
                    _logger.warning("live.interrupted", error=type(error).__name__)
                    await pause(stop, backoff(attempt))
                    attempt += 1
        finally:
            self._stopped = True
            self._standing.clear()
            for client in tuple(self._clients):
                client.end("stop")

    async def catch_up(self, client: Client) -> bytes:
        """The next part of what `client` missed; empty where it holds nothing for it."""
        behind, token = client.behind, self._token
        if behind is None:
            return b""
        after, until = behind
        try:
            async with self._reading:
                stretch = await read_behind(self._pool, after, until, types=self.stream.types)
        except Exception as error:
            if not is_dependency_error(error):
                raise
            client.end("away")
            return b""
        if client.behind is not behind:
            return b""  # it was reset or ended meanwhile
        told = self._tell(stretch.rows)
        if told is None or self._token_of(stretch.run) != token:
            self._reset((client,), "unreadable" if told is None else "log-exchanged")
            return b""
        client.behind = (stretch.end, until) if stretch.full else None
        return b"".join(self._counted(one.chunk for one in told if client.wants(one.message)))

    def heartbeat(self, client: Client) -> bytes:
        """Says that the stream lives, and how far: a quiet client's id does not grow old."""
        return _encoded(comment="beat", id=write_id(client.at or self._at, self._token))

    async def _place(self, client: Client, last_id: str | None) -> None:
        """Have it begin where its id says, or now."""
        self._asked.set()
        if self._stopped or not await pause(self._standing, STANDS_WITHIN_S):
            raise _unavailable("not-streaming", "The process ends, or its database is away.")
        token = self._token
        after = self._at if last_id is None else read_id(last_id, token)
        if after is not None and after < self._at:
            far = await is_far_behind(
                self._pool, after, self._at, most_rows=self.limits.most_behind_rows
            )
            if far or token != self._token:
                after = None
        # From here on nothing is awaited: what the tail finds next is for this client as well.
        if after is None:
            self._reset((client,), "gone")
            return
        client.at = max(after, self._at)
        client.behind = (after, self._at) if after < self._at else None
        client.opening = _encoded(comment="live", id=write_id(after, token), retry=RETRY_MS)

    async def _turn(self) -> None:
        if not self._clients:
            self._standing.clear()
            await woken(self._asked, LOOK_S)
        elif not self._standing.is_set():
            await self._stand()
        else:
            began = asyncio.get_running_loop().time()
            stretch = await read_behind(self._pool, self._at, LAST, types=self.stream.types)
            if self._token_of(stretch.run) != self._token:
                await self._stand()
                self._reset(self._placed(), "log-exchanged")
                return
            found, self._at = stretch.end > self._at, stretch.end
            self._deliver(self._tell(stretch.rows))
            await next_turn(self._wake, began=began, found=found)

    async def _stand(self) -> None:
        run, self._at = await read_end(self._pool)
        self._token = self._token_of(run)
        self._standing.set()

    def _deliver(self, told: Sequence[_Told] | None) -> None:
        if told is None:
            self._reset(self._placed(), "unreadable")
            return
        for client in self._placed():
            seen = client.at or START
            client.at = max(seen, self._at)
            wanted = (one for one in told if one.position > seen and client.wants(one.message))
            client.give(self._counted(one.chunk for one in wanted))

    def _counted(self, chunks: Iterable[bytes]) -> list[bytes]:
        given = list(chunks)
        metrics.LIVE_MESSAGES.labels(stream=self.stream.name).inc(len(given))
        return given

    def _tell(self, rows: Iterable[asyncpg.Record]) -> list[_Told] | None:
        """The messages of these rows; None where one cannot be read by this release."""
        now = self._clock()
        told: list[_Told] = []
        for row in rows:
            logged = LoggedEvent[Any](row, self._contract)
            try:
                message = self.stream.tell(logged, now)
            except (UnknownVersionError, UndecodableError):
                _logger.exception("live.unreadable", stream=self.stream.name)
                return None
            if message is not None:
                data = orjson.dumps(message.data).decode()
                at = logged.position
                chunk = _encoded(data, event=message.name, id=write_id(at, self._token))
                told.append(_Told(at, message, chunk))
        return told

    def _reset(self, clients: Iterable[Client], reason: str) -> None:
        """Tell clients to read the state anew; what comes next is behind this moment."""
        data = orjson.dumps({"reason": reason}).decode()
        given = write_id(self._at, self._token)
        chunk = _encoded(data, event="reset", id=given, retry=RETRY_MS)
        for client in clients:
            metrics.LIVE_RESETS.labels(stream=self.stream.name, reason=reason).inc()
            client.forget()
            client.at = self._at
            client.give((chunk,))

    def _placed(self) -> list[Client]:
        return [client for client in self._clients if client.at is not None]

    def _token_of(self, run: str) -> str:
        return token_of(run, self.stream.name, self.stream.meaning)


def _encoded(data: str | None = None, **fields: Any) -> bytes:  # noqa: ANN401  # SSE's own fields
    return ServerSentEvent(data, sep="\n", **fields).encode()


def _unavailable(name: str, detail: str) -> Problem:
    return Problem(503, name, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
