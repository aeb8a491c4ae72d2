"""The three services as an operator would run them: a process each, settings from outside."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import httpx
from crm_stack.server import free_port

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from crm_stack.stack import Stack

READY_SECONDS: Final = 120.0
STOP_SECONDS: Final = 30.0
LAST_LINES: Final = 5


class NotReadyError(Exception):
    """A service did not come up; the message ends with its last log lines."""


def end_by_sigterm() -> None:
    """Let SIGTERM cancel the task that runs, so that the processes it started end with it.

    Once: who runs `make` may send it to the group as well, and a second one would cut the end off.
    """
    if (running := asyncio.current_task()) is not None:
        loop = asyncio.get_running_loop()

        def end() -> None:
            loop.add_signal_handler(signal.SIGTERM, lambda: None)
            running.cancel()

        loop.add_signal_handler(signal.SIGTERM, end)


def secret() -> str:
    """256 random bits, base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Service:
    """One service in a process of its own. The role `run` is API and worker in one."""

    name: str
    environment: dict[str, str]
    port: int
    log: Path
    role: str = "run"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def beside(self, role: str) -> Self:
        """The same service in another process and role, at a port of its own."""
        port = free_port()
        environment = {**self.environment, f"{self.name.upper()}_HTTP_PORT": str(port)}
        log = self.log.with_name(f"{self.name}-{role}.log")
        return replace(self, environment=environment, port=port, log=log, role=role)

    def start(self) -> Self:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", self.name, self.role],
                env={**os.environ, **self.environment},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return self

    def command(self, *arguments: str, within_s: float = READY_SECONDS) -> str:
        """Run one of the service's own commands; what it printed."""
        done = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-m", self.name, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise NotReadyError(f"{self.name} {' '.join(arguments)}: {said}")
        return done.stdout.strip()

    def wait_ready(self) -> None:
        """Wait until it can answer, at most 120 s.

        Raises:
            NotReadyError: it ended, or is not ready in time.
        """
        self._wait("/readyz")

    def wait_alive(self) -> None:
        """Wait until it runs, whatever is away that it needs; else as `wait_ready`."""
        self._wait("/livez")

    def _wait(self, probe: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise NotReadyError(
                    f"{self.name} ended with {self.process.poll()}:\n{self.last_words()}"
                )
            try:
                if httpx.get(f"{self.url}{probe}", timeout=2).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)  # noqa: TID251  # a process that starts can only be asked again
        raise NotReadyError(
            f"{self.name}: {probe} fails after {READY_SECONDS:.0f} s:\n{self.last_words()}"
        )

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text().splitlines()[-LAST_LINES:])

    def stop(self) -> int:
        """Ask it to leave, and wait; its exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass
class Services:
    """contacts, analytics and sales on one stack, with keys of their own."""

    contacts: Service
    analytics: Service
    sales: Service

    @property
    def all(self) -> tuple[Service, ...]:
        return (self.contacts, self.analytics, self.sales)

    @classmethod
    def on(cls, stack: Stack, folder: Path) -> Self:
        """Prepare all; nothing is started yet."""
        keks, digest_key = f"demo:{secret()}", secret()

        def service(name: str, **more: str) -> Service:
            port = free_port()
            prefix = name.upper()
            settings = {
                "DATABASE_URL": stack.service_database(name),
                "KAFKA_BOOTSTRAP": stack.kafka.bootstrap,
                "KAFKA_REPLICATION_FACTOR": "1",  # the stack has one broker
                "KAFKA_MIN_INSYNC": "1",
                "HTTP_PORT": str(port),
                "KEKS": keks,
                "INSTANCE": "1",
                "LOG_FORMAT": "json",
                **more,
            }
            environment = {f"{prefix}_{key}": value for key, value in settings.items()}
            return Service(name, environment, port, folder / f"{name}.log")

        contacts = service("contacts", DIGEST_KEY=digest_key)
        file_url = f"{contacts.url}/customers/{{customer_id}}/file.html"
        told = {"CUSTOMER_FILE_URL": file_url, "REDIS_URL": stack.redis.url}
        return cls(contacts, service("analytics", **told), service("sales"))

    def __enter__(self) -> Self:
        try:
            for service in self.all:
                service.start()
            for service in self.all:
                service.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for service in self.all:
            service.stop()
