"""Servers and disks as faults act on them: what is done to one is noted in the round's timeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from crm_stack.kafka_cluster import KafkaCluster
    from crm_stack.server import Server
    from crm_stack.small_disk import SmallDisk

S = TypeVar("S", bound="Server | KafkaCluster")


@dataclass(frozen=True)  # with slots, `NotedServer[S](...)` would raise in Python 3.11
class NotedServer(Generic[S]):
    """A server, or all brokers together, by the name that the timeline calls it."""

    name: str
    server: S
    note: Callable[[str], None]

    async def kill(self) -> None:
        """SIGKILL; nothing of it is left when this returns."""
        await asyncio.to_thread(self.server.kill)
        self.note(f"{self.name} killed")

    async def stop(self) -> None:
        """In good order."""
        await asyncio.to_thread(self.server.stop)
        self.note(f"{self.name} stopped")

    async def start(self) -> None:
        """It answers when this returns."""
        self.note(f"{self.name} begun again")
        await asyncio.to_thread(self.server.start)
        self.note(f"{self.name} answers")

    async def freeze(self) -> None:
        """SIGSTOP."""
        await asyncio.to_thread(self.server.pause)
        assert self.server.paused, f"{self.name} was not frozen"
        self.note(f"{self.name} frozen")

    async def thaw(self) -> None:
        """SIGCONT."""
        await asyncio.to_thread(self.server.resume)
        self.note(f"{self.name} thawed")

    async def restore(self) -> None:
        """Make it answer again after whatever was done to it."""
        await asyncio.to_thread(self.server.restore)
        self.note(f"{self.name} answers")


@dataclass(frozen=True, slots=True)
class NotedDisk:
    """A small disk, by whose data lie on it."""

    name: str
    disk: SmallDisk
    note: Callable[[str], None]

    def fill(self) -> None:
        """Leave no room."""
        self.disk.fill()
        self.note(f"the disk of {self.name} full")

    def free(self) -> None:
        """Give the room back."""
        self.disk.free()
        self.note(f"the disk of {self.name} freed")
