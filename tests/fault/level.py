"""Level: all is published, heard, folded and told, and every worker is in its group."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from crm_events.topics import BANDS

from tests.fault.world import AWAY, POLL_SECONDS

if TYPE_CHECKING:
    import asyncpg

    from tests.fault.world import World

LEVEL_SECONDS: Final = 60.0
OWED: Final = """
select count(*) from log l, relay_position p
where p.name = 'main' and l.sequence is null and l.topic is not null
  and (l.epoch, l.xid, l.gp) > (p.epoch, p.xid, p.gp)
"""
HEARD_BY_NOBODY: Final = frozenset({BANDS.name})
DUE: Final = "select count(*) from engagement where due_at is not null"
KEYS: Final = "select count(*) from subject_key"
MARKED: Final = """
select topic, partition, sequence from inbox_mark where sequence > 0 and starts_with(topic, $1)
"""
BEHIND: Final = """
select count(*) from projection_checkpoint c, lateral (
    select 1 from log l where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp) limit 1) x
"""


async def level(world: World, within_seconds: float = LEVEL_SECONDS) -> bool:
    """Wait until all is published, heard, folded and told; False where it takes longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_seconds):
            while not await _is_level(world):
                await asyncio.sleep(POLL_SECONDS)
            return True
    return False


async def _is_level(world: World) -> bool:
    try:
        async with (
            world.database("contacts") as contacts,
            world.database("analytics") as analytics,
        ):
            # In the order in which one comes from the other: no load, so what was seen settled
            # stays so.
            if not (
                await _heard_all(analytics, contacts, of="contacts")
                and not await analytics.fetchval(DUE)
                and await _heard_all(contacts, analytics, of="analytics")
                and await contacts.fetchval(KEYS) == await analytics.fetchval(KEYS)
            ):
                return False
        # One that is out of its group leaves its work to the others, and would not be missed.
        return all([await one.hears() for one in world.workers])
    except AWAY:
        return False


async def _heard_all(
    listener: asyncpg.Connection, publisher: asyncpg.Connection, *, of: str
) -> bool:
    for connection in (listener, publisher):
        if await connection.fetchval(OWED) or await connection.fetchval(BEHIND):
            return False
    if await publisher.fetchval("select count(*) from relay_position where name <> 'main'"):
        return False
    sent = await publisher.fetch(
        "select topic, partition, sequence from relay_sequence where sequence > 0"
    )
    heard = await listener.fetch(MARKED, f"{of}.")
    told = {tuple(row) for row in sent if row["topic"] not in HEARD_BY_NOBODY}
    return told == set(map(tuple, heard))
