"""A process of a service under faults, and the proxy through which it alone reaches PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from demo.running import Service
    from tests.fault.proxy.postgres import PostgresProxy

EXIT_SECONDS: Final = 20.0
LOOK_EVERY_SECONDS: Final = 0.01
ANSWER_SECONDS: Final = 2.0
HOLDING: Final = re.compile(r"^kith_inbox_holding\{[^}]*\} 1\.0$", re.MULTILINE)


@dataclass
class Process:
    """Started, frozen and ended as a fault or an operator would."""

    name: str
    service: Service
    postgres: PostgresProxy
    note: Callable[[str], None]
    _told_to_end: bool = False

    @property
    def ended_by_itself(self) -> bool:
        """It runs no more, and nobody had ended it."""
        return not self.alive and not self._told_to_end

    @property
    def pid(self) -> int:
        assert self.service.process is not None, f"{self.name} was never started"
        return self.service.process.pid

    @property
    def alive(self) -> bool:
        return self.service.process is not None and self.service.process.poll() is None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.start_soon()
        await asyncio.to_thread(self.service.wait_ready)
        self.note(f"{self.name} ready")

    def start_soon(self) -> None:
        """Start it; what it needs may be away."""
        self._told_to_end = False
        self.service.start()
        self.note(f"{self.name} begun")

    async def kill(self) -> None:
        """SIGKILL; nothing of it is left when this returns."""
        assert self.alive, f"{self.name} was gone before it was killed"
        self._told_to_end = True
        os.kill(self.pid, signal.SIGKILL)
        await self.ended()
        self.note(f"{self.name} killed")

    def terminate(self) -> None:
        """SIGTERM: asked to end."""
        assert self.alive, f"{self.name} was gone before it was asked to end"
        self._told_to_end = True
        os.kill(self.pid, signal.SIGTERM)
        self.note(f"{self.name} asked to end")

    async def ended(self, within_seconds: float = EXIT_SECONDS) -> int:
        """Wait until it has ended; its exit code."""
        assert self.service.process is not None, f"{self.name} was never started"
        return await asyncio.to_thread(self.service.process.wait, within_seconds)

    async def freeze(self) -> None:
        """SIGSTOP; it stands when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        async with asyncio.timeout(EXIT_SECONDS):
            while not self.is_frozen:
                await asyncio.sleep(LOOK_EVERY_SECONDS)
        self.note(f"{self.name} frozen")

    @property
    def is_frozen(self) -> bool:
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def thaw(self) -> None:
        """SIGCONT; nothing happens to one that runs."""
        if self.is_frozen:
            os.kill(self.pid, signal.SIGCONT)
            self.note(f"{self.name} thawed")

    async def hears(self) -> bool:
        """Has its group given it partitions?"""
        return await self.partitions() > 0

    async def partitions(self) -> int:
        """How many its group has given it."""
        return int(await self.metric("kith_inbox_partitions"))

    async def metric(self, name: str, **labels: str) -> float:
        """What it tells of itself: the sum of the samples of this name that bear the labels."""
        return sum(sample.value for sample in await self.samples(name, **labels))

    async def samples(self, name: str, **labels: str) -> list[Sample]:
        """What it tells of itself under this name, of what bears the labels."""
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as client:
            answer = await client.get(f"{self.service.url}/metrics")
        return [
            sample
            for family in text_string_to_metric_families(answer.raise_for_status().text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    async def holding(self, client: httpx.AsyncClient) -> int:
        """How many partitions it holds; 0 of one that does not answer, for nobody knows."""
        try:
            answer = await client.get(f"{self.service.url}/metrics")
        except httpx.TransportError:
            return 0
        return len(HOLDING.findall(answer.text))

    def rss_bytes(self) -> int:
        """Its resident memory; 0 where it does not run."""
        try:
            return psutil.Process(self.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return 0

    def last_words(self) -> str:
        return self.service.last_words()


@asynccontextmanager
async def frozen(*processes: Process) -> AsyncGenerator[None]:
    """These stand while the body runs."""
    for process in processes:
        await process.freeze()
    try:
        yield
    finally:
        for process in processes:
            process.thaw()
