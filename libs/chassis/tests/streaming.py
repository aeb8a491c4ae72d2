"""A process that streams, and a client of server-sent events as the standard says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from crm_chassis.http.live_feed import Feed
from crm_chassis.http.serving import http_loop
from crm_chassis.lifecycle import Supervisor
from fastapi import FastAPI


@dataclass(frozen=True)
class Heard:
    """A message, or a block without data: then `event` is empty and `data` None."""

    event: str
    id: str | None
    data: Any
    retry: int | None


@dataclass(frozen=True)
class Served:
    """A process that answers, until `stop`; did its loops end well?"""

    client: httpx.AsyncClient
    stop: asyncio.Event
    running: asyncio.Task[bool]


@contextlib.asynccontextmanager
async def served(app: FastAPI, feed: Feed, key: str) -> AsyncIterator[Served]:
    """Answer at a port of its own, and feed; the client has this key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stop, supervisor = asyncio.Event(), Supervisor()
    supervisor.add("http", http_loop(app, host="127.0.0.1", port=port))
    supervisor.add("live", feed.run)
    running = asyncio.create_task(supervisor.run(stop))
    bearing = {"Authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, headers=bearing, timeout=60) as client:
        while True:
            with contextlib.suppress(httpx.ConnectError):
                await client.get("/livez")
                break
            await asyncio.sleep(0.01)
        yield Served(client, stop, running)
        stop.set()
        assert await running


@contextlib.asynccontextmanager
async def listening(
    client: httpx.AsyncClient, path: str, last_id: str | None = None
) -> AsyncIterator[AsyncIterator[Heard]]:
    """The blocks of a stream, from behind that id on."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield blocks(answer)


async def blocks(answer: httpx.Response) -> AsyncIterator[Heard]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        data, retry = fields.get("data"), fields.get("retry")
        yield Heard(
            fields.get("event", ""),
            fields.get("id"),
            None if data is None else orjson.loads(data),
            None if retry is None else int(retry),
        )
        fields = {}


async def messages(heard: AsyncIterator[Heard], count: int) -> list[Heard]:
    """The next so many that have data."""
    found: list[Heard] = []
    async for each in heard:
        if each.data is not None:
            found.append(each)
            if len(found) == count:
                break
    return found
