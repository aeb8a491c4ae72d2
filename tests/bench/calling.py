"""Calls over HTTP that cost their caller next to nothing: it shares its cores with who answers.

A call by httpx takes 1 to 3 ms of CPU, more than most answers do, and its pool goes through all
connections for each: after a stall of a second in which 200 calls came due it takes 20 ms, and
the generator is late for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import httptools
import orjson

OK = 200
LONGEST_S = 60
"""An API that stalls is told of as a latency; one that answers later than this breaks the row."""


class NotAnsweredError(Exception):
    """The answer is another than 200: its status and body."""


class Caller:
    """Calls one API under one key, on as many connections as there are calls under way.

    The answer is its body. Calls raise NotAnsweredError, ConnectionError, or TimeoutError.
    """

    def __init__(self, url: str, key: str) -> None:
        at = urlsplit(url)
        assert at.hostname is not None
        assert at.port is not None
        self._host, self._port = at.hostname, at.port
        self._head = f"Host: {at.netloc}\r\nAuthorization: Bearer {key}\r\n"
        self._free: list[_Connection] = []

    async def get(self, path: str) -> bytes:
        return await self._call(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())

    async def post(self, path: str, told: object) -> bytes:
        """`told` goes as JSON."""
        body = orjson.dumps(told)
        head = (
            f"POST {path} HTTP/1.1\r\n{self._head}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return await self._call(head.encode() + body)

    def close(self) -> None:
        """Close the connections, none of which has a call under way."""
        for connection in self._free:
            connection.close()

    async def _call(self, request: bytes) -> bytes:
        async with asyncio.timeout(LONGEST_S):
            connection = await self._connection()
            try:
                status, body = await connection.call(request)
            except BaseException:
                connection.close()
                raise
        self._free.append(connection)
        if status != OK:
            raise NotAnsweredError(status, body)
        return body

    async def _connection(self) -> _Connection:
        while self._free:  # the last one first: the others the server may close
            if (connection := self._free.pop()).is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, opened = await loop.create_connection(_Connection, self._host, self._port)
        return opened


class _Connection(asyncio.Protocol):
    """One call at a time. The names below `call` are asyncio's and httptools'."""

    def __init__(self) -> None:
        self.is_open = False
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def close(self) -> None:
        self._transport.abort()

    async def call(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError where it ends without an answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed without an answer"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self.is_open = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), b"".join(self._parts)))


@asynccontextmanager
async def caller_of(url: str, key: str) -> AsyncIterator[Caller]:
    caller = Caller(url, key)
    try:
        yield caller
    finally:
        caller.close()
