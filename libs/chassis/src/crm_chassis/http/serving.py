"""uvicorn as one of the process' supervised loops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn
from crm_store.database import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from starlette.types import ASGIApp

    from crm_chassis.lifecycle import Loop

_logger = structlog.stdlib.get_logger(__name__)

BACKLOG: Final = 1_024
MOST_CONCURRENT: Final = 1_000  # requests and connections; above that uvicorn answers 503
KEEP_ALIVE_S: Final = 20
FINISH_S: Final = 8
"""Requests under way get so long once the process is asked to stop."""

UNREAD_MS: Final = 30_000
"""A connection whose peer takes nothing of what was sent for so long is broken off."""

BEAT_S: Final = 1.0


class AddressTakenError(Exception):
    """The address to listen at is in use, or is none of this machine."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # the process has its own handlers


def http_loop(app: ASGIApp, *, host: str, port: int) -> Loop:
    """A loop that answers HTTP until `stop`, then takes no connection and finishes its requests.

    Raises AddressTakenError, which is no outage: waiting would not help.
    """

    async def serve(stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        listening = _listen(host, port)
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                http="httptools",
                ws="none",
                proxy_headers=False,
                backlog=BACKLOG,
                limit_concurrency=MOST_CONCURRENT,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=FINISH_S,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        _logger.info("http.listening", host=host, port=port)
        try:
            while not serving.done() and not await pause(stop, BEAT_S):
                beat()
            server.should_exit = True
            await serving
        finally:
            serving.cancel()
            listening.close()

    return serve


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressTakenError(f"cannot listen at {host}:{port}: {error.strerror}") from error
    if sys.platform == "linux":  # accepted connections inherit it
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    return listening
