from __future__ import annotations

import asyncio

import pytest

from tests.bench.calling import NotAnsweredError, caller_of

pytestmark = pytest.mark.enable_socket

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers on 127.0.0.1 as `answer` does; how many connections it was asked for."""

    def __init__(self, answer):
        self._answer = answer
        self.connections = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await self._answer(writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


async def test_calls_under_way_have_a_connection_each_and_later_ones_take_them_again():
    async def together(writer):
        await meet.wait()
        writer.write(ANSWER)

    meet = asyncio.Barrier(5)
    async with Server(together) as server, caller_of(server.url, "k") as caller:
        for _ in range(3):
            answers = await asyncio.gather(*(caller.get("/") for _ in range(5)))

    assert answers == [b"ok"] * 5
    assert server.connections == 5


async def test_an_answer_that_comes_in_pieces_is_whole():
    async def in_pieces(writer):
        for one in (ANSWER[:9], ANSWER[9:-1], ANSWER[-1:]):
            writer.write(one)
            await writer.drain()
            await asyncio.sleep(0)

    async with Server(in_pieces) as server, caller_of(server.url, "k") as caller:
        assert await caller.post("/", {"a": 1}) == b"ok"


async def test_a_connection_that_the_server_ends_is_not_taken_again():
    async def for_the_last_time(writer):
        writer.write(ANSWER.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))

    async with Server(for_the_last_time) as server, caller_of(server.url, "k") as caller:
        await caller.get("/")
        await caller.get("/")

    assert server.connections == 2


async def test_an_answer_other_than_200_fails_and_its_connection_is_taken_again():
    async def refuses(writer):
        writer.write(ANSWER.replace(b"200 OK", b"409 Conflict"))

    async with Server(refuses) as server, caller_of(server.url, "k") as caller:
        for _ in range(2):
            with pytest.raises(NotAnsweredError):
                await caller.get("/")

    assert server.connections == 1


async def test_a_call_without_an_answer_fails():
    async def ends(writer):
        writer.transport.abort()

    async with Server(ends) as server, caller_of(server.url, "k") as caller:
        with pytest.raises(ConnectionError):
            await caller.get("/")
