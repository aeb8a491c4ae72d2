"""A TCP proxy on 127.0.0.1: bytes go through until they are delayed, stalled, cut or refused."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.fault.timeline import unnoted

CHUNK_BYTES: Final = 65_536
CLOSE_SECONDS: Final = 1.0
RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)

Which = Callable[["Connection"], bool]


def every(_: Connection) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Slowness:
    """What each chunk waits, in seconds: between `least` and `most`."""

    least: float
    most: float


class Connection:
    """One client and the server behind the proxy; `client_port` tells whose it is."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.client_reader, self.client_writer = client
        self.server_reader, self.server_writer = server
        self.client_port: int = self.client_writer.get_extra_info("peername")[1]
        self.at = ""  # the name of its proxy
        self.flows = asyncio.Event()
        self.flows.set()
        self.slowness: Slowness | None = None
        self.random = random.Random(self.client_port)  # noqa: S311  # pace, no secret

    async def run(self) -> None:
        """Pump both ways until one side ends, then end the other."""
        pumps = [asyncio.create_task(self._up()), asyncio.create_task(self._down())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            for pump in pumps:  # a peer that is gone is the normal end
                error = None if pump.cancelled() else pump.exception()
                if error is not None and not isinstance(error, OSError):
                    raise error
            self.close()

    def close(self) -> None:
        self.client_writer.close()
        self.server_writer.close()

    def reset(self) -> None:
        """End both sides at once, unsent bytes dropped: the client sees a reset."""
        for writer in (self.client_writer, self.server_writer):
            end = writer.get_extra_info("socket")
            if end is not None:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()

    async def to_server(self, data: bytes) -> None:
        await self._pass(self.server_writer, data)

    async def to_client(self, data: bytes) -> None:
        await self._pass(self.client_writer, data)

    async def _up(self) -> None:
        while data := await self.client_reader.read(CHUNK_BYTES):
            await self.from_client(data)

    async def _down(self) -> None:
        while data := await self.server_reader.read(CHUNK_BYTES):
            await self.from_server(data)

    async def from_client(self, data: bytes) -> None:
        """What the client sent; a protocol looks into it here."""
        await self.to_server(data)

    async def from_server(self, data: bytes) -> None:
        await self.to_client(data)

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await self.flows.wait()
        if self.slowness is not None:
            await asyncio.sleep(self.random.uniform(self.slowness.least, self.slowness.most))
        writer.write(data)
        await writer.drain()


class FaultProxy:
    """Listens on `port` of 127.0.0.1 and forwards to `target`, another port there.

    A fault holds inside its context and is healed when that is left; `which` chooses connections,
    those that come meanwhile as well. `hits` counts what a fault met, so that one that met nothing
    is seen; `note` is told of each fault and its heal, under the proxy's `name`.
    """

    connection_type: type[Connection] = Connection

    def __init__(
        self, port: int, target: int, *, name: str = "", note: Callable[[str], None] = unnoted
    ) -> None:
        self.port = port
        self.target = target
        self.name = name
        self.note = note
        self.connections: set[Connection] = set()
        self.hits = 0
        self._server: asyncio.Server | None = None
        self._stalled: list[Which] = []
        self._slowed: list[tuple[Which, Slowness]] = []
        self._refuses = False

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._accepted, "127.0.0.1", self.port, reuse_address=True
        )

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.reset()
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), CLOSE_SECONDS)
        self._server = None

    def reset(self, which: Which = every) -> int:
        """Cut connections that are open now; how many those were."""
        cut = [connection for connection in self.connections if which(connection)]
        for connection in cut:
            connection.reset()
        self.hits += len(cut)
        self.note(f"{len(cut)} connections at {self.name} reset")
        return len(cut)

    @asynccontextmanager
    async def stalled(self, which: Which = every) -> AsyncGenerator[None]:
        """Bytes stop, connections stay open; new ones are taken and stall too."""
        self._stalled.append(which)
        self._apply_to_all()
        self.note(f"bytes at {self.name} stand")
        try:
            yield
        finally:
            self._stalled.remove(which)
            self._apply_to_all()
            self.note(f"bytes at {self.name} go on")

    @asynccontextmanager
    async def delayed(
        self, least: float, most: float, which: Which = every
    ) -> AsyncGenerator[None]:
        """Each chunk waits between `least` and `most` seconds, each way."""
        slow = (which, Slowness(least, most))
        self._slowed.append(slow)
        self._apply_to_all()
        self.note(f"bytes at {self.name} wait {least} to {most} s")
        try:
            yield
        finally:
            self._slowed.remove(slow)
            self._apply_to_all()
            self.note(f"bytes at {self.name} wait no more")

    @asynccontextmanager
    async def refusing(self) -> AsyncGenerator[None]:
        """Open connections are cut and new ones reset at once, as if nobody listened."""
        self._refuses = True
        self.reset()
        self.note(f"{self.name} lets nobody in")
        try:
            yield
        finally:
            self._refuses = False
            self.note(f"{self.name} lets in again")

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            self.hits += 1
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        connection = self.make(reader, writer, server)
        connection.at = self.name
        self.connections.add(connection)
        self._apply(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)

    def make(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> Connection:
        return self.connection_type((reader, writer), server)

    def _apply_to_all(self) -> None:
        for connection in tuple(self.connections):
            self._apply(connection)

    def _apply(self, connection: Connection) -> None:
        if any(which(connection) for which in self._stalled):
            self.hits += connection.flows.is_set()
            connection.flows.clear()
        else:
            connection.flows.set()
        slow = [slowness for which, slowness in self._slowed if which(connection)]
        self.hits += bool(slow)
        connection.slowness = slow[-1] if slow else None
