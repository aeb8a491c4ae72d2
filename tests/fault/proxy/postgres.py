"""The proxy before PostgreSQL: it knows which statement goes by, and when it is committed.

Source of the message formats: PostgreSQL 18 documentation, "Frontend/Backend Protocol".
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.fault.proxy.points import Point, Where
from tests.fault.proxy.tcp import Connection, FaultProxy
from tests.fault.timeline import unnoted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PROTOCOL_3: Final = 3
FLUSH: Final = b"H\x00\x00\x00\x04"
ANSWERED, COMPLETED, FAILED = ord("Z"), ord("C"), ord("E")
HEADER: Final = 5


class PostgresConnection(Connection):
    """Reads the client's messages; the server's only while a point waits for one of them."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        armed: list[Point],
    ) -> None:
        super().__init__(client, server)
        self._armed = armed
        self._sent = bytearray()
        self._started = False
        self._statements: dict[bytes, str] = {}
        self._in_transaction = False
        self._point: Point | None = None
        self._wanted: int | None = None  # the server's message that the point waits for
        self._answer = bytearray()
        self._came = asyncio.Event()

    async def from_client(self, data: bytes) -> None:
        self._sent += data
        passed = bytearray()
        while (message := self._next()) is not None:
            await self._see(message, passed)
        if passed:
            await self.to_server(bytes(passed))

    async def from_server(self, data: bytes) -> None:
        if self._wanted is None:
            await self.to_client(data)
            return
        self._answer += data
        for kind in self._answered():
            if kind in {self._wanted, FAILED}:
                self._came.set()

    def _next(self) -> bytes | None:
        """One whole message that the client sent, or None."""
        head = 4 if not self._started else HEADER
        if len(self._sent) < head:
            return None
        (length,) = struct.unpack_from("!I", self._sent, 0 if not self._started else 1)
        whole = length if not self._started else length + 1
        if len(self._sent) < whole:
            return None
        message = bytes(self._sent[:whole])
        del self._sent[:whole]
        return message

    async def _see(self, message: bytes, passed: bytearray) -> None:
        if not self._started:
            self._started = struct.unpack_from("!H", message, 4)[0] == PROTOCOL_3
            passed += message
            return
        kind = message[:1]
        if kind == b"P":
            name, sql, _ = message[HEADER:].split(b"\0", 2)
            self._statements[name] = sql.decode()
        elif kind == b"Q":
            await self._see_query(message, passed)
            return
        elif kind == b"B" and self._point is None:
            _, name, _ = message[HEADER:].split(b"\0", 2)
            await self._see_bind(self._statements.get(name, ""), passed)
        elif kind == b"S" and self._point is not None and not self._in_transaction:
            await self._at_commit(message, passed)
            return
        passed += message

    async def _see_bind(self, sql: str, passed: bytearray) -> None:
        point = next((one for one in self._armed if one.takes(sql)), None)
        if point is None:
            return
        point.claim(self)
        self._point = point
        if point.where is Where.BEFORE:
            await self._flush(passed)
            await point.hold()
            self._point = None

    async def _see_query(self, message: bytes, passed: bytearray) -> None:
        """What asyncpg begins and ends transactions with."""
        sql = message[HEADER:].rstrip(b"\0").decode().strip().lower()
        if sql.startswith(("begin", "start transaction")):
            self._in_transaction = True
        ends = sql.startswith(("commit", "rollback"))
        if ends:
            self._in_transaction = False
        if ends and self._point is not None:
            await self._at_commit(message, passed)
        else:
            passed += message

    async def _at_commit(self, message: bytes, passed: bytearray) -> None:
        """`message` makes the server commit what the point's statement wrote."""
        point = self._point
        if point is None:
            raise RuntimeError("no point is waited for")
        explicit = message[:1] == b"Q"
        if point.where is Where.COMMITTED:
            self._wanted = ANSWERED
            passed += message
            await self._flush(passed)
            await self._came.wait()
            await point.hold()
            await self._let_go()
            return
        if not explicit:  # what the server answers to the statement is waited for, and kept
            self._wanted = COMPLETED
            passed += FLUSH
            await self._flush(passed)
            await self._came.wait()
        await point.hold()
        await self._let_go()
        passed += message

    async def _let_go(self) -> None:
        """The client gets what was kept from it; all goes on as before."""
        kept = bytes(self._answer)
        self._answer.clear()
        self._came.clear()
        self._point, self._wanted = None, None
        if kept:
            await self.to_client(kept)

    async def _flush(self, passed: bytearray) -> None:
        if passed:
            await self.to_server(bytes(passed))
            passed.clear()

    def _answered(self) -> list[int]:
        """The kinds of the whole messages that came since the point began to wait."""
        kinds: list[int] = []
        at = 0
        while len(self._answer) >= at + HEADER:
            (length,) = struct.unpack_from("!I", self._answer, at + 1)
            if len(self._answer) < at + 1 + length:
                break
            kinds.append(self._answer[at])
            at += 1 + length
        return kinds


class PostgresProxy(FaultProxy):
    """Before one server; `armed` holds a connection where its statement has got to a point."""

    def __init__(
        self, port: int, target: int, *, name: str = "", note: Callable[[str], None] = unnoted
    ) -> None:
        super().__init__(port, target, name=name, note=note)
        self._armed: list[Point] = []

    @contextmanager
    def armed(self, where: Where, what: str) -> Generator[Point]:
        """Arm a point, one of `points.STATEMENTS`; at the end its connection is cut."""
        point = Point(where, what, note=self.note)
        self._armed.append(point)
        try:
            yield point
        finally:
            self._armed.remove(point)
            if not point.resumed:
                point.cut()

    def make(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> Connection:
        return PostgresConnection((reader, writer), server, self._armed)
