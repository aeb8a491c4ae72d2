"""The proxy before a Kafka broker: it knows a Produce request and its answer.

Source of the formats: Kafka's protocol guide. A request is its length, api key, api version and
correlation id; an answer its length and the correlation id.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.fault.proxy.points import Point, Where
from tests.fault.proxy.tcp import Connection, FaultProxy, Which, every
from tests.fault.timeline import unnoted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

PRODUCE: Final = 0
WHAT: Final = "produce"
REQUEST: Final = struct.Struct("!IhhI")
ANSWER: Final = struct.Struct("!II")


class KafkaConnection(Connection):
    """Reads the head of each request, and of answers while one is waited for."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        armed: list[Point],
    ) -> None:
        super().__init__(client, server)
        self._armed = armed
        self._sent = bytearray()
        self._answers = bytearray()
        self._awaited: dict[int, Point] = {}  # by correlation id

    async def from_client(self, data: bytes) -> None:
        self._sent += data
        while (request := _whole(self._sent)) is not None:
            _, api, _, correlation = REQUEST.unpack_from(request)
            point = None
            if api == PRODUCE:
                point = next((p for p in self._armed if not p.fired and p.which(self)), None)
            if point is not None:
                point.claim(self)
                if point.where is Where.BEFORE:
                    await point.hold()
                else:
                    self._awaited[correlation] = point
            await self.to_server(request)

    async def from_server(self, data: bytes) -> None:
        self._answers += data
        while (answer := _whole(self._answers)) is not None:
            _, correlation = ANSWER.unpack_from(answer)
            point = self._awaited.pop(correlation, None)
            if point is not None:
                await point.hold()
            await self.to_client(answer)


class KafkaProxy(FaultProxy):
    """Before one broker."""

    def __init__(
        self, port: int, target: int, *, name: str = "", note: Callable[[str], None] = unnoted
    ) -> None:
        super().__init__(port, target, name=name, note=note)
        self.armed: list[Point] = []

    def make(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> Connection:
        return KafkaConnection((reader, writer), server, self.armed)


@contextmanager
def armed(proxies: Sequence[KafkaProxy], where: Where, which: Which = every) -> Generator[Point]:
    """Hold the next Produce request to any of the brokers (`before`), or the answer to it."""
    point = Point(where, WHAT, which, note=proxies[0].note)
    for proxy in proxies:
        proxy.armed.append(point)
    try:
        yield point
    finally:
        for proxy in proxies:
            proxy.armed.remove(point)
        if not point.resumed:
            point.cut()


def _whole(buffer: bytearray) -> bytes | None:
    """One whole frame off the front of the buffer, or None."""
    if len(buffer) < REQUEST.size:
        return None
    (length,) = struct.unpack_from("!I", buffer)
    if len(buffer) < length + 4:
        return None
    frame = bytes(buffer[: length + 4])
    del buffer[: length + 4]
    return frame
