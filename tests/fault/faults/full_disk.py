"""No room left under PostgreSQL, under one broker, under all of them; then room again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from crm_stack.small_disk import lying_on, size_megabytes, small_disk

from tests.fault.fault import Fault
from tests.fault.noted import NotedDisk

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator

    from tests.fault.noted import NotedServer
    from tests.fault.world import World

ROOM_MEGABYTES: Final = 96
"""Beside what lies there already: to start, and to write for a while."""
FULL_SECONDS: Final = 8.0
NOTICED_SECONDS: Final = 60.0
AFTERWARDS: Final = 200
SENT: Final = "select coalesce(sum(sequence), 0) from relay_sequence"


async def postgres_full(world: World, _: random.Random) -> None:
    """What finds no room is answered 503; PostgreSQL ends when that is its log, and comes back."""
    async with _on_small_disk(world.postgres) as disk:
        await world.acknowledged(AFTERWARDS)
        refused = world.load.answers[503]
        disk.fill()

        async def is_refused() -> bool:
            return world.load.answers[503] > refused

        await world.until(is_refused, within_seconds=NOTICED_SECONDS, what="the first refusal")
        await asyncio.sleep(FULL_SECONDS)
        disk.free()
        await world.postgres.restore()
        await world.acknowledged(AFTERWARDS)


async def broker_full(world: World, rng: random.Random) -> None:
    """The broker gives up; the two others go on, and it takes what it missed from them."""
    broker = rng.choice(world.brokers)
    async with _on_small_disk(broker) as disk:
        await world.acknowledged(AFTERWARDS)
        disk.fill()

        async def has_ended() -> bool:
            return not broker.server.running

        await world.until(has_ended, within_seconds=NOTICED_SECONDS, what="the broker's end")
        before = await _sent(world)
        await world.until(
            lambda: _sends(world, before), within_seconds=NOTICED_SECONDS, what="sending by two"
        )
        disk.free()
        await broker.start()


async def every_broker_full(world: World, _: random.Random) -> None:
    """The collector goes on: the log keeps what Kafka has no room for."""
    first, second, third = world.brokers
    async with _on_small_disk(first) as a, _on_small_disk(second) as b, _on_small_disk(third) as c:
        await world.acknowledged(AFTERWARDS)
        before = await _nothing_is_sent_while_full(world, (a, b, c))
        await world.until(
            lambda: _sends(world, before), within_seconds=NOTICED_SECONDS, what="sending again"
        )


async def _nothing_is_sent_while_full(world: World, disks: tuple[NotedDisk, ...]) -> int:
    """Fill and free all of them; what was sent before."""

    async def all_ended() -> bool:
        return not any(broker.server.running for broker in world.brokers)

    try:
        for disk in disks:
            disk.fill()
        await world.until(all_ended, within_seconds=NOTICED_SECONDS, what="the brokers' end")
        before = await _sent(world)
        await world.acknowledged(AFTERWARDS)
        assert await _sent(world) == before, "something counted as sent that no broker has"
        return before
    finally:
        for disk in disks:
            disk.free()
        await world.kafka.restore()  # together: one alone does not answer


@asynccontextmanager
async def _on_small_disk(noted: NotedServer[Any]) -> AsyncGenerator[NotedDisk]:
    """Move the server's data to a disk with a little room, and back, which stops it twice."""
    server = noted.server
    megabytes = await asyncio.to_thread(size_megabytes, server.data) + ROOM_MEGABYTES
    mount = small_disk(megabytes)
    disk = await asyncio.to_thread(mount.__enter__)
    try:
        moved = lying_on(disk, server)
        await asyncio.to_thread(moved.__enter__)
        noted.note(f"{noted.name} lies on a small disk")
        try:
            yield NotedDisk(noted.name, disk, noted.note)
        finally:
            disk.free()
            await asyncio.to_thread(moved.__exit__, None, None, None)
            noted.note(f"{noted.name} lies where it lay")
    finally:
        await asyncio.to_thread(mount.__exit__, None, None, None)


async def _sent(world: World) -> int:
    async with world.database("contacts") as connection:
        return int(await connection.fetchval(SENT))


async def _sends(world: World, before: int) -> bool:
    return await _sent(world) > before


FAULTS: Final = (
    Fault("full-disk.postgres", "No room under PostgreSQL, then room again.", postgres_full,
          needs=frozenset({"root"}), weight=0),
    Fault("full-disk.broker", "No room under a broker; the two others go on.", broker_full,
          needs=frozenset({"root"}), weight=0),
    Fault("full-disk.all-brokers", "No room under any broker: the collector goes on.",
          every_broker_full, needs=frozenset({"root"}), weight=0),
)  # fmt: skip
