"""One server process: started until it answers, stopped, killed, frozen, on the same address."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from crm_stack import processes
from crm_stack.errors import StackError
from crm_stack.processes import ProcessId

START_SECONDS = 90.0
STOP_SECONDS = 30.0
_ASK_AGAIN_SECONDS = 0.05
_LOG_KEPT_BYTES = 5_000_000
# Below every system's range for outgoing connections: a client that reconnects while its server
# is away may otherwise be given the server's own port, and the server can then not come back.
_PORTS = range(15_000, 32_000)
_PORT_TRIES = 50


@dataclass(frozen=True, slots=True)
class Launch:
    """How the server is run: arguments, environment and, as root, the user to run it as."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    user_id: int | None = None
    group_id: int | None = None


class Server(ABC):
    """Base of the servers; their process may have been started by an earlier run."""

    stop_signal: ClassVar[signal.Signals]
    telling: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        process: ProcessId | None,
        started: Callable[[str, ProcessId], None],
    ) -> None:
        """`started` is told of each new process before it is waited for.

        `data` may be set to another place while it is stopped.
        """
        self.folder = folder
        self.data = folder / "data"
        self.name = name
        self.log = folder / f"{self.name}.log"
        self._process = process
        self._started = started
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def ports(self) -> list[int]: ...

    @abstractmethod
    def prepare(self) -> Launch:
        """Make the data folder if there is none; raises StackError naming what is missing."""

    @abstractmethod
    async def answers(self) -> bool:
        """Whether a client's first request is answered."""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def paused(self) -> bool:
        return self._process is not None and self._process.paused

    @property
    def process(self) -> ProcessId | None:
        return self._process

    def start(self) -> None:
        """Start and wait until it answers; nothing happens if it runs.

        Raises:
            StackError: it cannot be started, or does not answer within START_SECONDS.
        """
        if self.running:
            return
        launch = self.prepare()
        for port in self.ports():
            _refuse_taken(port, self.name)
        if self.log.exists() and self.log.stat().st_size > _LOG_KEPT_BYTES:
            self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            try:
                self._child = subprocess.Popen(  # noqa: S603  # our own command, no shell
                    launch.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=launch.environment,
                    start_new_session=True,
                    user=launch.user_id,
                    group=launch.group_id,
                    extra_groups=None if launch.user_id is None else [],
                )
            except OSError as error:
                raise StackError(f"{self.name} cannot be run: {error}") from error
        self._process = ProcessId.of(self._child.pid)
        if self._process is not None:
            self._started(self.name, self._process)
        try:
            processes.run_apart(self._answering())
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within_seconds: float = STOP_SECONDS) -> None:
        """Ask it to end in order, and kill what is still there after that time."""
        if self._process is not None:
            processes.end(self._process, by=self.stop_signal, within_seconds=within_seconds)
        self._reap()

    def discard(self) -> None:
        """End it at once: its data is not wanted any more."""
        if self._process is not None:
            processes.discard(self.name, self._process)
        self._reap()

    def kill(self) -> None:
        """SIGKILL, children included; returns when nothing of it is left."""
        if self._process is not None:
            processes.kill(self._process)
        self._reap()

    def pause(self) -> None:
        """SIGSTOP, children included: connections stay open and nothing answers."""
        if self._process is not None:
            processes.pause(self._process)

    def resume(self) -> None:
        """SIGCONT, children included."""
        if self._process is not None:
            processes.resume(self._process)

    def restart(self) -> None:
        """Stop and start on the same address with the same data."""
        self.stop()
        self.start()

    def restore(self) -> None:
        """Make it answer again after whatever was done to it."""
        if self.paused:
            self.resume()
        self.start()

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait(timeout=processes.GONE_SECONDS)
        self._child = None

    async def _answering(self) -> None:
        if await until_it_answers(self.answers, while_=lambda: self.running):
            return
        happened = "does not answer" if self.running else "ended while it was starting"
        said = processes.last_line(self.log, wanted=self.telling)
        raise StackError(f"{self.name} {happened}: {said:.300} (its log: {self.log})")


async def until_it_answers(
    answers: Callable[[], Awaitable[bool]], *, while_: Callable[[], bool]
) -> bool:
    """Ask again and again; False when START_SECONDS have passed, or `while_` no longer holds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while while_():
                if await answers():
                    return True
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
    return False


def free_port() -> int:
    """A port on the loopback that nobody listens on and that no outgoing connection is given."""
    for _ in range(_PORT_TRIES):
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port
    raise StackError(f"no free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")


def minimal_environment(**more: str) -> dict[str, str]:
    """What a server needs from ours: no setting of the caller may change how it behaves."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC", **more}


async def accepts(port: int) -> bool:
    """Whether something listens: cheaper than a client, and it logs nothing while it is refused."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _refuse_taken(port: int, name: str) -> None:
    if not _is_free(port):
        raise StackError(f"port {port}, which {name} had before, is taken by another program")
