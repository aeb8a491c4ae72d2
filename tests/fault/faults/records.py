"""Single records that are not what they ought to be: a stranger's, a spoilt one, another truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from crm_store.ids import new_id

from tests.fault import purchases
from tests.fault.fault import Fault
from tests.fault.process import frozen
from tests.fault.purchases import SOON_SECONDS, TOPIC

if TYPE_CHECKING:
    import random

    from tests.fault.world import World

AFTERWARDS: Final = 100
ATTEMPTS: Final = 5


async def unreadable(world: World, _: random.Random) -> None:
    """A stranger writes to every partition: what comes behind is taken in its turn."""
    before, partitions = await purchases.unreadable(world), sorted(await purchases.sent(world))
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap)
    await producer.start()
    try:
        for partition in partitions:
            await producer.send_and_wait(TOPIC, b"of a stranger", partition=partition)
    finally:
        await producer.stop()
    world.timeline.note(f"a stranger's record in each of {len(partitions)} partitions")
    sent = await purchases.sent(world)

    async def taken() -> bool:
        heard = await purchases.heard(world)
        return all(heard.get(n, 0) > sent[n] for n in partitions)

    await world.until(taken, within_seconds=SOON_SECONDS, what="what lies behind them")
    assert await purchases.unreadable(world) >= before + len(partitions), "nobody has met them"


async def own_unreadable(world: World, rng: random.Random) -> None:
    """One of the relay's records has lost its number: hold until it is sent again."""
    before = await purchases.unreadable(world)
    async with frozen(*world.members):
        await world.acknowledged(3 * AFTERWARDS)
        heard, sent = await purchases.heard(world), await purchases.sent(world)
        cut = rng.choice([n for n in sorted(sent) if sent[n] > heard.get(n, 0) + 1 > 1])
        place = TopicPartition(TOPIC, cut)
        async with frozen(await world.holder("contacts")):
            # The last: of the first ones a member may have been sent some as it was frozen.
            *before_it, last = await purchases.behind_the_mark(world, place)
            await purchases.delete_before(world, {place: last.offset + 1})
            spoilt = purchases.with_header(last, "ce_sequence", b"\xff")
            await purchases.send(world, place, [*before_it, spoilt])
    await purchases.one_stands(world, cut)
    assert await purchases.unreadable(world) > before, "nobody has met it"
    holding = await purchases.told_of(world, "kith_inbox_holding")
    assert set(holding) == {cut}, f"{set(holding)} hold, {cut} is to"
    missing = dict(last.headers)["ce_sequence"].decode()
    await world.command("contacts", "republish", "--topic", TOPIC, "--from", missing)


async def diverged(world: World, rng: random.Random) -> None:
    """A number of the publisher's is given to another event as well: what an operator does then."""
    place = TopicPartition(TOPIC, rng.choice(sorted(await purchases.sent(world))))
    async with frozen(await world.holder("contacts")):
        offset = await _written_behind_its_like(world, place)

    async def stands() -> bool:
        return set(await purchases.told_of(world, "kith_inbox_stopped")) == {place.partition}

    await world.until(stands, within_seconds=SOON_SECONDS, what="the stop of its partition")
    await purchases.one_stands(world, place.partition)
    reader = (await purchases.told_of(world, "kith_inbox_stopped"))[place.partition]
    # The runbook: the record is cut off with what lies before it, that is sent again, and the
    # reader looks anew.
    await purchases.delete_before(world, {place: offset + 1})
    await world.command("contacts", "republish", "--topic", TOPIC)
    reader.terminate()
    await reader.ended()
    await reader.start()
    assert not await purchases.told_of(world, "kith_inbox_stopped"), "it stands still"
    await world.acknowledged(AFTERWARDS)


async def _written_behind_its_like(world: World, place: TopicPartition) -> int:
    """Write a record with the number of the partition's last, and another id; its offset.

    What the relay had on its way when it froze may come between: then once more.
    """
    for _ in range(ATTEMPTS):
        last = await purchases.last(world, place)
        other = purchases.with_header(last, "ce_id", str(new_id()).encode())
        offset = await purchases.send(world, place, [other])
        if offset == last.offset + 1:
            return offset
    raise AssertionError(f"something came between {ATTEMPTS} times")


FAULTS: Final = (
    Fault("topics.unreadable", "Records of a stranger, without a number, in every partition.",
          unreadable, weight=1),
    Fault("topics.own-unreadable", "A record of the relay's whose number cannot be read: hold.",
          own_unreadable, weight=1),
    Fault("topics.diverged", "The mark's number with another event: stop, cut, republish.",
          diverged, weight=1),
)  # fmt: skip
