"""A process of a service under faults, and the proxy through which it alone reaches PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from demo.running import Service
    from tests.fault.proxy.postgres import PostgresProxy

EXIT_SECONDS: Final = 20.0
LOOK_EVERY_SECONDS: Final = 0.01
ANSWER_SECONDS: Final = 2.0


@dataclass
class Process:
    """Started, frozen and ended as a fault or an operator would."""

    name: str
    service: Service
    postgres: PostgresProxy

    @property
    def pid(self) -> int:
        assert self.service.process is not None, f"{self.name} was never started"
        return self.service.process.pid

    @property
    def alive(self) -> bool:
        return self.service.process is not None and self.service.process.poll() is None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.service.start()
        await asyncio.to_thread(self.service.wait_ready)

    def start_soon(self) -> None:
        """Start it; what it needs may be away."""
        self.service.start()

    async def kill(self) -> None:
        """SIGKILL; nothing of it is left when this returns."""
        assert self.alive, f"{self.name} was gone before it was killed"
        os.kill(self.pid, signal.SIGKILL)
        await self.ended()

    def terminate(self) -> None:
        """SIGTERM: asked to end."""
        assert self.alive, f"{self.name} was gone before it was asked to end"
        os.kill(self.pid, signal.SIGTERM)

    async def ended(self, within_seconds: float = EXIT_SECONDS) -> int:
        """Wait until it has ended; its exit code."""
        assert self.service.process is not None, f"{self.name} was never started"
        return await asyncio.to_thread(self.service.process.wait, within_seconds)

    async def freeze(self) -> None:
        """SIGSTOP; it stands when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        async with asyncio.timeout(EXIT_SECONDS):
            while psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(LOOK_EVERY_SECONDS)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def hears(self) -> bool:
        """Has its group given it partitions?"""
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as client:
            answer = await client.get(f"{self.service.url}/metrics")
        return any(
            sample.value > 0
            for family in text_string_to_metric_families(answer.raise_for_status().text)
            for sample in family.samples
            if sample.name == "kith_inbox_partitions"
        )

    def rss_bytes(self) -> int:
        """Its resident memory; 0 where it does not run."""
        try:
            return psutil.Process(self.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return 0

    def last_words(self) -> str:
        return self.service.last_words()
