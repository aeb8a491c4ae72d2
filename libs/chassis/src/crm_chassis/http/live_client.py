"""One client of a live stream: what it wants, how far it is, what waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from crm_store import metrics
from crm_store.database import pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from datetime import datetime

    from crm_store.log.logged import LoggedEvent
    from crm_store.log.position import Position

SEND_BYTES: Final = 64 * 1024
"""What waits goes out in parts of about this size."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many clients, how far behind, how much is kept for one, and how long it stays."""

    most_clients: int = 500
    most_behind_rows: int = 100_000
    """Rows of the log, of whatever type, that a client may be behind and still resume."""
    most_waiting_bytes: int = 256 * 1024
    """What may wait for a client that reads slowly, before the messages of one more page."""
    heartbeat_s: float = 15.0
    lasts_s: float = 600.0
    """Then a client comes again and resumes: a key that was revoked reads on for so long."""


@dataclass(frozen=True, slots=True)
class Message:
    """What clients are told of an event: the SSE event's name, and its data."""

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """What is streamed: events of these types, each told or left out.

    Nothing is opened for it: personal fields read SEALED. `meaning` is part of the ids, so a client
    begins anew where it changes: the versions of what the messages are made by.
    """

    name: str
    meaning: str
    types: tuple[str, ...]
    tell: Callable[[LoggedEvent[Any], datetime], Message | None]


class Source(Protocol):
    """What a client is fed by, and asks for what it missed."""

    @property
    def stream(self) -> Stream: ...
    @property
    def limits(self) -> Limits: ...
    def leave(self, client: Client) -> None: ...
    async def catch_up(self, client: Client) -> bytes: ...
    def heartbeat(self, client: Client) -> bytes: ...


class Client:
    """One connection. Made by `Feed.listen`, and to be ended in any case."""

    def __init__(self, feed: Source, wants: Callable[[Message], bool]) -> None:
        self.wants = wants
        self.at: Position | None = None
        self.behind: tuple[Position, Position] | None = None
        """What of the log is still to be read for it."""
        self.opening = b""
        """Its first id, and how soon to come back."""
        self.ended = asyncio.Event()
        self._feed = feed
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()

    def give(self, chunks: Iterable[bytes]) -> None:
        """Have these wait for it; one that has let too much wait is ended, and that forgotten."""
        if self._waiting_bytes > self._feed.limits.most_waiting_bytes:
            self.end("slow")
            return
        for chunk in chunks:
            self._waiting.append(chunk)
            self._waiting_bytes += len(chunk)
            self._news.set()

    def forget(self) -> None:
        """Drop what waits, and what was to be read."""
        self.behind = None
        self._waiting.clear()
        self._waiting_bytes = 0

    def end(self, reason: str) -> None:
        """Let it go: stop, time, slow, away or gone. It may come again and resume."""
        if not self.ended.is_set():
            metrics.LIVE_ENDED.labels(stream=self._feed.stream.name, reason=reason).inc()
            self.forget()
            self.ended.set()
            self._news.set()
        self._feed.leave(self)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What goes over the wire, until it is ended."""
        limits, now = self._feed.limits, asyncio.get_running_loop().time
        until = now() + limits.lasts_s
        if self.opening:
            yield self.opening
        while self.behind is not None and not self.ended.is_set():
            if missed := await self._feed.catch_up(self):
                yield missed
        while not self.ended.is_set():
            left = until - now()
            if left <= 0:
                self.end("time")
            elif not await pause(self._news, min(left, limits.heartbeat_s)):
                yield self._feed.heartbeat(self)
            elif news := self._take():
                yield news

    def _take(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        while self._waiting and size < SEND_BYTES:
            taken.append(self._waiting.popleft())
            size += len(taken[-1])
        self._waiting_bytes -= size
        if not self._waiting:
            self._news.clear()
        return b"".join(taken)
