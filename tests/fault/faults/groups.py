"""Three inbox members on the partitions, and who leads."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.partitioning import partition_of

from tests.fault import purchases
from tests.fault.appended import append
from tests.fault.fault import Fault
from tests.fault.proxy.points import Where
from tests.fault.watching import grown

if TYPE_CHECKING:
    import random
    from datetime import datetime
    from uuid import UUID

    from tests.fault.world import World

SETTLE_SECONDS: Final = 2.0
AFTERWARDS: Final = 100
REFUSED_SECONDS: Final = 60.0
HEARD_SECONDS: Final = 60.0
STANDS_SECONDS: Final = 60.0
BEHIND: Final = 30_000
AT_ONCE: Final = 2_000
PADDING: Final = "." * 1_000
"""Read without a bound, 30,000 records of over a thousand characters take more than 100 MB."""

RECORDED: Final = """
select count(*) from log where sequence is null and topic is not null
and recorded_at between $1 and $2
"""
WAITED: Final = """
select count(*) as heard,
       coalesce(max(extract(epoch from heard_at - recorded_at)), 0)::float8 as longest
from log where sequence is not null and recorded_at between $1 and $2
"""


async def rolling_sigterm(world: World, _: random.Random) -> None:
    """Notes how long events waited to be heard at each restart."""
    for member in world.members:
        began = utc_now()
        member.terminate()
        assert await member.ended() == 0, f"{member.name} did not leave in good order"
        await member.start()
        await asyncio.sleep(SETTLE_SECONDS)
        world.notes.pauses_seconds.append(await _longest_wait(world, began, utc_now()))


async def _longest_wait(world: World, since: datetime, until: datetime) -> float:
    """Seconds from recorded to heard, the most of all that contacts recorded in that time."""
    async with world.database("contacts") as contacts, world.database("analytics") as analytics:
        recorded = await contacts.fetchval(RECORDED, since, until)

        async def all_heard() -> bool:
            return (await analytics.fetchrow(WAITED, since, until))["heard"] >= recorded

        await world.until(all_heard, within_seconds=HEARD_SECONDS, what="all that was recorded")
        return float((await analytics.fetchrow(WAITED, since, until))["longest"])


async def rolling_kill(world: World, _: random.Random) -> None:
    for member in world.members:
        await member.kill()
        await member.start()
        await world.acknowledged(AFTERWARDS)


async def stalled_batch(world: World, rng: random.Random) -> None:
    """A member's batch stands in its connection; what it reads on meanwhile stays bounded."""
    member = rng.choice(world.members)
    with member.postgres.armed(Where.BEFORE, "inbox.take") as point:
        await point.reached()
        async with member.postgres.stalled(), grown(world, "a batch stands", [member]):
            await _fill_behind(world, await _standing(world))
            await asyncio.sleep(STANDS_SECONDS)
    await world.acknowledged(AFTERWARDS)


async def _standing(world: World) -> set[int]:
    """The partitions of which nothing is taken, whatever the batch holds that stands."""
    await world.acknowledged(2 * AFTERWARDS)
    sent = await purchases.sent(world)
    await world.acknowledged(2 * AFTERWARDS)
    heard = await purchases.heard(world)
    standing = {n for n in sent if heard.get(n, 0) < sent[n]}
    assert standing, "the member has no partition of which anything comes"
    return standing


async def _fill_behind(world: World, partitions: set[int]) -> None:
    """So much lies in these partitions that whoever reads it without a bound is seen by it."""
    customers: dict[int, UUID] = {}
    while len(customers) < len(partitions):
        one = new_id()
        if (partition := partition_of(one, purchases.PARTITIONS)) in partitions:
            customers.setdefault(partition, one)
    before = sum((await purchases.sent(world)).values())
    for _ in range(BEHIND // AT_ONCE):
        await append(world, [*islice(cycle(customers.values()), AT_ONCE)], padding=PADDING)

    async def all_sent() -> bool:
        return sum((await purchases.sent(world)).values()) >= before + BEHIND

    await world.until(all_sent, within_seconds=HEARD_SECONDS, what="what lies behind it")


async def same_instance(world: World, _: random.Random) -> None:
    """The later of two under one name ends and says why; the one at work goes on."""
    first = world.members[0]
    pid = first.pid
    instance = first.service.environment["ANALYTICS_INSTANCE"]
    async with world.standby("analytics", "worker", instance, ready=False) as second:
        code = await second.ended(REFUSED_SECONDS)
        assert code == 1, f"the second under the name {instance} ended with {code}"
        assert "InstanceTakenError" in second.service.log.read_text()
    await world.acknowledged(AFTERWARDS)
    assert first.alive, "the first was thrown out"
    assert first.pid == pid


async def two_relays(world: World, _: random.Random) -> None:
    """One has sent and is about to say so when it freezes; when it wakes up another leads."""
    async with world.standby("contacts", "worker", "2"):
        first = await world.holder("contacts")
        with first.postgres.armed(Where.BEFORE, "relay.move") as point:
            await point.reached()
            await first.freeze()
            await world.taken_over(first, "relay")
            await world.acknowledged(AFTERWARDS)
            first.thaw()
            point.resume()  # it moves its position now, as it believes
        await world.acknowledged(AFTERWARDS)


FAULTS: Final = (
    Fault("groups.rolling-sigterm", "SIGTERM and start of one member after the other.",
          rolling_sigterm),
    Fault("groups.rolling-kill", "kill -9 and start of one member after the other.",
          rolling_kill),
    Fault("groups.stalled-batch", "A member's batch stands; 30,000 records come behind it.",
          stalled_batch, weight=0),
    Fault("groups.same-instance", "Two processes under one static id: the later one ends.",
          same_instance, weight=1),
    Fault("groups.two-relays", "Two relays that both believe they lead.", two_relays),
)  # fmt: skip
