"""A receiver of webhooks on this machine: it checks who calls, and remembers what came."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from standardwebhooks.webhooks import Webhook

from demo.running import secret

TAKEN: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
LONGEST_HEAD: Final = 16_384


@dataclass
class BackOffice:
    """`ids` are the webhook-ids of the calls of each deal, in order."""

    secret: str = field(default_factory=lambda: f"whsec_{secret()}")
    url: str = ""
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: bool = True  # else calls are taken, and nobody is told so

    def settings(self) -> dict[str, str]:
        """What sales is to be told of it."""
        return {
            "SALES_BACK_OFFICE_URL": self.url,
            "SALES_BACK_OFFICE_SECRET": self.secret,
            "SALES_BACK_OFFICE_INSIDE": "true",
        }

    async def called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one call. Raises where its signature is not that of sales."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        told: dict[str, Any] = orjson.loads(body)
        Webhook(self.secret).verify(body, headers)
        self.ids[told["data"]["deal_id"]].append(headers["webhook-id"])
        if self.answers:
            writer.write(TAKEN)
            await writer.drain()
            writer.close()


@asynccontextmanager
async def back_office() -> AsyncGenerator[BackOffice]:
    """One that listens while the body runs."""
    office = BackOffice()
    server = await asyncio.start_server(office.called, "127.0.0.1", 0, limit=LONGEST_HEAD)
    office.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/won"
    try:
        yield office
    finally:
        server.close()
