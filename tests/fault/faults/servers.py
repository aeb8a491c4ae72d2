"""PostgreSQL and the brokers: killed, stopped, frozen, one or several, for short or for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.admin import AIOKafkaAdminClient

from tests.fault.fault import Fault
from tests.fault.watching import grown
from tests.fault.world import NODES

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from crm_stack.kafka import Kafka

    from tests.fault.noted import NotedServer
    from tests.fault.world import World

AWAY_SECONDS: Final = 3.0
UNDER_WAY_SECONDS: Final = 0.5
FROZEN_SECONDS: Final = 8.0
BOUNCES: Final = 5
AFTERWARDS: Final = 200
WATCHED: Final = "contacts.purchases"
SENT: Final = "select coalesce(sum(sequence), 0) from relay_sequence"


async def postgres_killed(world: World, _: random.Random) -> None:
    await world.postgres.kill()
    await world.postgres.start()
    await world.acknowledged(AFTERWARDS)


async def postgres_stopped(world: World, _: random.Random) -> None:
    """While it is away the collector says when to come back, and never that it took something."""
    await world.postgres.stop()
    await asyncio.sleep(UNDER_WAY_SECONDS)  # what was answered before it went has arrived
    refused, taken = world.load.answers[503], world.load.answers[200]
    await asyncio.sleep(AWAY_SECONDS)
    assert world.load.answers[503] > refused, "nobody was told to come back"
    assert world.load.answers[200] == taken, "something was acknowledged without a database"
    await world.postgres.start()
    await world.acknowledged(AFTERWARDS)


async def postgres_frozen(world: World, _: random.Random) -> None:
    await world.postgres.freeze()
    await asyncio.sleep(FROZEN_SECONDS)
    await world.postgres.thaw()
    await world.acknowledged(AFTERWARDS)


async def broker_killed(broker: NotedServer[Kafka], world: World, _: random.Random) -> None:
    await broker.kill()
    await world.acknowledged(AFTERWARDS)
    await broker.start()


async def broker_stopped(broker: NotedServer[Kafka], world: World, _: random.Random) -> None:
    await broker.stop()
    await world.acknowledged(AFTERWARDS)
    await broker.start()


async def broker_frozen(broker: NotedServer[Kafka], world: World, _: random.Random) -> None:
    await broker.freeze()
    await asyncio.sleep(FROZEN_SECONDS)
    await broker.thaw()
    await world.acknowledged(AFTERWARDS)


async def leader_bounced(world: World, _: random.Random) -> None:
    for _ in range(BOUNCES):
        leader = await _leader(world)
        await leader.stop()
        await world.acknowledged(AFTERWARDS // 2)
        assert (await _leader(world)).name != leader.name, "nobody else led"
        await leader.start()


async def two_brokers_down(world: World, rng: random.Random) -> None:
    """One in-sync replica is none: nothing counts as sent until the second is back."""
    down = rng.sample(world.brokers, 2)
    await asyncio.gather(*(broker.kill() for broker in down))
    await world.acknowledged(AFTERWARDS // 2)  # whatever was on its way has arrived, or failed
    before = await _sent(world)
    await world.acknowledged(AFTERWARDS)
    assert await _sent(world) == before, "something counted as sent that one broker has"
    await asyncio.gather(*(broker.start() for broker in down))

    async def goes_on() -> bool:
        return await _sent(world) > before

    await world.until(goes_on, within_seconds=60, what="sending after the heal")


async def kafka_away_for_long(world: World, _: random.Random) -> None:
    """The collector goes on answering 200: the log is the outbox, and nobody's memory is."""
    others = {status: n for status, n in world.load.answers.items() if status != 200}
    before = await _sent(world)
    async with grown(world, "Kafka away", world.processes):
        await world.kafka.kill()
        await asyncio.sleep(world.long_outage_seconds)
        refused = {status: n for status, n in world.load.answers.items() if status != 200}
        assert refused == others, f"the collector answered {refused} while Kafka was away"
        await world.kafka.start()

        async def goes_on() -> bool:
            return await _sent(world) > before

        await world.until(goes_on, within_seconds=60, what="sending after the heal")


async def _sent(world: World) -> int:
    async with world.database("contacts") as connection:
        return int(await connection.fetchval(SENT))


async def _leader(world: World) -> NotedServer[Kafka]:
    """The broker that leads the first partition of a topic."""
    alive = ",".join(each.server.bootstrap for each in world.brokers if each.server.running)
    admin = AIOKafkaAdminClient(bootstrap_servers=alive)
    await admin.start()
    try:
        while True:
            (topic,) = await admin.describe_topics([WATCHED])
            leader = min(topic["partitions"], key=lambda each: each["partition"])["leader"]
            for broker in world.brokers:
                if broker.server.node_id == leader:
                    return broker
            await asyncio.sleep(0.2)
    finally:
        await admin.close()


def _of_each(
    how: str, does: str, run: Callable[[NotedServer[Kafka], World, random.Random], Awaitable[None]]
) -> tuple[Fault, ...]:
    """A fault for each broker, so that none is left to chance."""

    def of(n: int) -> Fault:
        return Fault(
            f"brokers.{how}.{n + 1}",
            does.format(n + 1),
            lambda world, rng: run(world.brokers[n], world, rng),
            weight=1,
        )

    return tuple(of(n) for n in range(NODES))


FAULTS: Final = (
    Fault("postgres.kill", "kill -9 of PostgreSQL and its backends.", postgres_killed),
    Fault("postgres.stop", "PostgreSQL stopped for 3 s: 503, never 200.", postgres_stopped),
    Fault("postgres.freeze", "SIGSTOP of PostgreSQL for 8 s.", postgres_frozen, weight=2),
    *_of_each("kill", "kill -9 of broker {}.", broker_killed),
    *_of_each("stop", "Broker {} stopped in good order.", broker_stopped),
    *_of_each("freeze", "SIGSTOP of broker {} for 8 s.", broker_frozen),
    Fault("brokers.leader-bounced", "The leader of a partition stopped and started five times.",
          leader_bounced, weight=0),
    Fault("brokers.two-down", "kill -9 of two brokers of three: nothing counts as sent.",
          two_brokers_down, weight=1),
    Fault("brokers.all-away", "Kafka away for long: the collector answers 200, nobody grows.",
          kafka_away_for_long, weight=0),
)  # fmt: skip
