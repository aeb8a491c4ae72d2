"""The log of others: cut, made anew, sent twice, with a gap; what a later release would write."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from crm_store.ids import new_id

from tests.fault import purchases
from tests.fault.fault import Fault
from tests.fault.process import frozen
from tests.fault.purchases import SOON_SECONDS, TOPIC

if TYPE_CHECKING:
    import random

    from tests.fault.world import World

AFTERWARDS: Final = 100
YEARS: Final = timedelta(days=3_652)
UNKNOWN: Final = "contacts.activity.imagined"

# As a later release of contacts would append it: this one knows neither type nor version.
LATER_RELEASE: Final = """
insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                 partition_key, occurred_at, topic, partition, data)
select (select max(epoch) from log_epoch), now(), $1, $3, $1, $2, 7, l.partition_key, now(),
       'contacts.activity', l.partition, '{"imagined": true}'
from log l where l.topic = 'contacts.activity' and l.sequence is null limit 1
"""
FIRST: Final = 1
NONE_AT_ALL: Final = 0
"""A stream's version that the codec refuses; no decider of ours ever gives it."""
# The newest score of somebody once more, under a version of which this release knows nothing.
LATER_SCORE: Final = """
insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                 partition_key, occurred_at, topic, partition, data)
select l.epoch, now(), $1, 1, $1, l.type, 9, l.partition_key, now(), l.topic, l.partition, l.data
from log l where l.topic = 'analytics.scores' and l.sequence is null
order by l.epoch desc, l.xid desc, l.gp desc limit 1
"""
STOPPED: Final = """
select 1 from projection_checkpoint where name = 'scores' and stopped is not null
"""


async def sent_twice(world: World, _: random.Random) -> None:
    sent, records = await purchases.sent(world), await purchases.records(world)
    await world.command("contacts", "republish", "--topic", TOPIC)
    await purchases.sent_all(world)
    await world.acknowledged(AFTERWARDS)
    again = await purchases.records(world) - records
    assert again >= sum(sent.values()), f"{again} of {sum(sent.values())} were sent once more"


async def truncated(world: World, _: random.Random) -> None:
    """Below the marks: what was taken is not needed any more."""
    ends = {tp: at for tp, at in world.notes.judged_to.items() if tp.topic == TOPIC}
    assert sum(ends.values()) > 0, "there is nothing to cut yet"
    await purchases.delete_before(world, ends)
    async with purchases.consumer(world) as consumer:
        begins = await consumer.beginning_offsets(list(ends))
    assert begins == ends, "it was not cut"
    await world.acknowledged(AFTERWARDS)


async def record_missing(world: World, rng: random.Random) -> None:
    """Records beyond a mark are gone: one partition holds, and goes on when they are sent again."""
    async with frozen(*world.members):
        await world.acknowledged(AFTERWARDS * 3)
        heard, sent = await purchases.heard(world), await purchases.sent(world)
        cut = rng.choice([n for n in sorted(sent) if sent[n] > heard.get(n, 0)])
        place = TopicPartition(TOPIC, cut)
        await purchases.delete_before(world, {place: (await purchases.ends(world))[place]})

    await purchases.one_stands(world, cut)
    await world.command("contacts", "republish", "--topic", TOPIC)


async def made_anew(world: World, _: random.Random) -> None:
    """Deleted under a running relay, which makes it again and goes on with the next number."""
    first = await purchases.first_times(world)
    await purchases.delete_topic(world)
    await world.acknowledged(AFTERWARDS)
    await world.until(lambda: purchases.there(world), within_seconds=SOON_SECONDS, what="the topic")
    assert not first.items() & (await purchases.first_times(world)).items(), (
        "it is the topic that it was"
    )
    await world.command("contacts", "republish", "--topic", TOPIC)


async def made_anew_and_longer(world: World, _: random.Random) -> None:
    """Readers find a topic that is longer than where they were, and another one."""
    first, records = await purchases.first_times(world), await purchases.records(world)
    async with frozen(*world.members):
        await purchases.delete_topic(world)
        await world.acknowledged(AFTERWARDS)
        await world.until(
            lambda: purchases.there(world), within_seconds=SOON_SECONDS, what="the topic"
        )
        while await purchases.records(world) <= records:
            await world.command("contacts", "republish", "--topic", TOPIC)
            await purchases.sent_all(world)
    assert not first.items() & (await purchases.first_times(world)).items(), (
        "it is the topic that it was"
    )


async def unknown_type(world: World, _: random.Random) -> None:
    """Taken like any other, and folded by nobody here."""
    event_id = new_id()
    async with world.database("contacts") as connection:
        await connection.execute(LATER_RELEASE, event_id, UNKNOWN, FIRST)
    world.notes.unknown_types = [UNKNOWN]
    await world.acknowledged(AFTERWARDS)
    async with world.database("analytics") as connection:

        async def heard() -> bool:
            return bool(
                await connection.fetchval("select 1 from log where event_id = $1", event_id)
            )

        await world.until(heard, within_seconds=SOON_SECONDS, what="the record of unknown type")


async def undecodable(world: World, _: random.Random) -> None:
    """A record whose envelope no reader can decode is kept aside, its number is not missed."""
    event_id = new_id()
    async with world.database("contacts") as connection:
        await connection.execute(LATER_RELEASE, event_id, UNKNOWN, NONE_AT_ALL)
    world.notes.unknown_types = [UNKNOWN]
    world.notes.quarantined += 1
    await world.acknowledged(AFTERWARDS)
    async with world.database("analytics") as connection:

        async def kept_aside() -> bool:
            return bool(
                await connection.fetchval("select 1 from quarantine where event_id = $1", event_id)
            )

        await world.until(kept_aside, within_seconds=SOON_SECONDS, what="the record kept aside")
        stands = await connection.fetchval("select type from log where event_id = $1", event_id)
    assert stands == "crm.quarantined", f"{stands} stands in its place"


async def unknown_version(world: World, _: random.Random) -> None:
    """It stops the models that name the type, and no other, until a release that knows it."""
    event_id = new_id()
    async with world.database("analytics") as connection:
        await connection.execute(LATER_SCORE, event_id)
    async with world.database("contacts") as connection:

        async def stopped() -> bool:
            return bool(await connection.fetchval(STOPPED))

        await world.until(stopped, within_seconds=SOON_SECONDS, what="the stop of the scores")
        await world.acknowledged(AFTERWARDS)
        others = await connection.fetch("select name, stopped from projection_checkpoint")
        assert {row["name"] for row in others if row["stopped"]} == {"scores"}, str(others)
        # A release that knows the version reads it as this one reads version 1.
        await connection.execute("update log set schema_version = 1 where event_id = $1", event_id)
    await world.relay.kill()
    await world.relay.start()


async def far_times(world: World, _: random.Random) -> None:
    """Ten years ahead is not believed and counts as of when it was recorded; behind is."""
    for apart in (YEARS, -YEARS):
        await world.load.send_one_off(apart)
    await world.acknowledged(AFTERWARDS)


FAULTS: Final = (
    Fault("topics.sent-twice", "A whole topic sent once more.", sent_twice, weight=2),
    Fault("topics.truncated", "A topic cut below the marks.", truncated, weight=2),
    Fault("topics.record-missing", "Records lost in Kafka: hold, republish, go on.",
          record_missing, weight=2),
    Fault("topics.made-anew", "A topic deleted under a running relay.", made_anew, weight=1),
    Fault("topics.made-anew-longer", "A topic made anew, and longer than the marks.",
          made_anew_and_longer, weight=1),
    Fault("topics.unknown-type", "A record as a later release would send it.", unknown_type,
          weight=1),
    Fault("topics.undecodable", "A record whose envelope cannot be decoded.", undecodable,
          weight=1),
    Fault("topics.unknown-version", "A known type in a version that no release here knows.",
          unknown_version, weight=1),
    Fault("topics.far-times", "Events ten years ahead and ten years behind.", far_times,
          weight=1),
)  # fmt: skip
