"""The fault proxy does what its faults say, on a real PostgreSQL and a real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from crm_deciding.effects.intent import ADD as MEAN
from crm_deciding.effects.sending import CLAIM, DIED, SETTLE
from crm_deciding.timers import RANG
from crm_kafka.inbox.taking import TAKE
from crm_kafka.relay.progress import MOVE as RELAY_MOVE
from crm_projections.checkpoints import MOVE as PROJECTION_MOVE
from crm_projections.projector import MOVE_IDLE
from crm_stack.server import free_port
from crm_stack.stack import Stack
from crm_store.log.append import APPEND_FACTS, APPEND_STREAMS
from crm_store.log.entries import Statement
from crm_store.log.statements import followed
from crm_store.log.together import APPEND_EACH

from tests.fault.proxy.kafka import KafkaProxy, armed
from tests.fault.proxy.points import NotReachedError, Where, is_of
from tests.fault.proxy.postgres import PostgresProxy

pytestmark = [pytest.mark.connected, pytest.mark.fault]

WRITE = "insert into log (epoch, recorded_at, stream_id) values ($1, 0, 0)"


def port_of(url: str) -> int:
    return int(url.rpartition("@")[2].partition("/")[0].rpartition(":")[2])


@pytest.fixture
async def proxy(database) -> AsyncIterator[PostgresProxy]:
    proxy = PostgresProxy(free_port(), port_of(database))
    await proxy.start()
    connection = await asyncpg.connect(database)
    await connection.execute("create table log (epoch int, recorded_at int, stream_id int)")
    await connection.close()
    yield proxy
    await proxy.stop()


@pytest.fixture
def behind(proxy, database) -> str:
    """The database's URL, by way of the proxy."""
    return database.replace(f":{proxy.target}/", f":{proxy.port}/")


async def rows(database: str) -> list[int]:
    connection = await asyncpg.connect(database)
    try:
        return [row[0] for row in await connection.fetch("select epoch from log order by 1")]
    finally:
        await connection.close()


FOLDED = f"with w0 as ({PROJECTION_MOVE}"
REACTED = followed(Statement(APPEND_STREAMS, ()), (), fence=Statement(PROJECTION_MOVE, ())).sql
RINGS = followed(Statement(APPEND_STREAMS, ()), (), fence=Statement(RANG, ())).sql
OF_THE_PRODUCT = {
    APPEND_FACTS,
    APPEND_STREAMS,
    APPEND_EACH,
    RELAY_MOVE,
    TAKE,
    MOVE_IDLE,
    FOLDED,
    MEAN,
    CLAIM,
    DIED,
    SETTLE,
}


@pytest.mark.parametrize(
    ("what", "statements"),
    [
        ("collector.append", (APPEND_FACTS, APPEND_STREAMS, APPEND_EACH)),
        ("relay.move", (RELAY_MOVE,)),
        ("inbox.take", (TAKE,)),
        ("projection.move", (FOLDED,)),
        ("effect.mean", (MEAN,)),
        ("effect.claim", (CLAIM,)),
        ("effect.settle", (SETTLE,)),
    ],
)
def test_a_point_knows_the_products_own_statement_and_no_other(what, statements):
    assert {sql for sql in OF_THE_PRODUCT if is_of(what, sql)} == set(statements)


@pytest.mark.parametrize(
    ("what", "statement"), [("reaction.append", REACTED), ("timer.ring", RINGS)]
)
def test_a_point_knows_an_append_by_its_fence(what, statement):
    assert {sql for sql in {*OF_THE_PRODUCT, REACTED, RINGS} if is_of(what, sql)} == {statement}


@pytest.mark.parametrize("transaction", [False, True])
@pytest.mark.parametrize(
    ("where", "kept"), [(Where.BEFORE, []), (Where.WRITTEN, []), (Where.COMMITTED, [7])]
)
async def test_a_cut_at_a_point_leaves_what_was_committed(  # noqa: PLR0917  # fixtures, by name
    proxy, behind, database, where, kept, transaction
):
    connection = await asyncpg.connect(behind)

    async def write() -> None:
        if transaction:
            async with connection.transaction():
                await connection.execute(WRITE, 7)
        else:
            await connection.execute(WRITE, 7)

    with proxy.armed(where, "collector.append") as point:
        writing = asyncio.create_task(write())
        await point.reached()
        answered = writing.done()
    with suppress(asyncpg.PostgresConnectionError, OSError, asyncpg.InterfaceError):
        await writing
    connection.terminate()

    assert not answered, "the answer was held back"
    assert await rows(database) == kept


@pytest.mark.parametrize("where", list(Where))
async def test_what_was_held_and_let_go_goes_on_as_if_nothing_had_been(
    proxy, behind, database, where
):
    connection = await asyncpg.connect(behind)

    with proxy.armed(where, "collector.append") as point:
        writing = asyncio.create_task(connection.execute(WRITE, 7))
        await point.reached()
        point.resume()
        await writing
    await connection.execute(WRITE, 8)
    await connection.close()

    assert await rows(database) == [7, 8]


async def test_a_point_that_is_never_met_is_told(proxy, behind):
    with proxy.armed(Where.BEFORE, "relay.move") as point:
        connection = await asyncpg.connect(behind)
        await connection.execute("select 1")
        with pytest.raises(NotReachedError, match=r"relay\.move was not met before"):
            await point.reached(within_seconds=0.2)
        await connection.close()


async def test_a_stall_holds_bytes_and_new_connections_until_it_is_healed(proxy, behind):
    connection = await asyncpg.connect(behind)

    async with proxy.stalled():
        waits = asyncio.create_task(connection.fetchval("select 1"))
        comes = asyncio.create_task(asyncpg.connect(behind))
        done, _ = await asyncio.wait({waits, comes}, timeout=0.3)
    answer, second = await asyncio.wait_for(asyncio.gather(waits, comes), 60)
    await second.close()
    await connection.close()

    assert not done
    assert answer == 1
    assert proxy.hits >= 1


async def test_a_delay_is_waited_for_each_way(proxy, behind):
    connection = await asyncpg.connect(behind)
    await connection.fetchval("select 1")

    async with proxy.delayed(0.1, 0.1):
        began = time.perf_counter()
        await connection.fetchval("select 1")
        slow = time.perf_counter() - began
    await connection.close()

    assert slow >= 0.2


async def test_a_reset_cuts_and_refusing_lets_nobody_in_until_healed(proxy, behind):
    connection = await asyncpg.connect(behind)

    assert proxy.reset() == 1
    with pytest.raises((asyncpg.PostgresConnectionError, OSError, asyncpg.InterfaceError)):
        await connection.fetchval("select 1")
    async with proxy.refusing():
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await asyncpg.connect(behind, timeout=2)
    again = await asyncpg.connect(behind)

    assert await again.fetchval("select 1") == 1
    await again.close()


@pytest.fixture(scope="module")
def broker() -> AsyncIterator[Stack]:
    """A broker whose second listener tells clients the proxy."""
    with Stack(kafka_proxy_ports=[free_port()]) as stack:
        yield stack


@pytest.mark.parametrize(
    ("where", "least", "most"), [(Where.BEFORE, 0, 0), (Where.COMMITTED, 1, 1)]
)
async def test_a_produce_request_that_is_cut_is_in_the_topic_or_not(
    broker, topic_name, where, least, most
):
    node = broker.kafka
    proxy = KafkaProxy(node._seat.proxied[1], node.behind_proxy)
    await proxy.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic_name, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=f"127.0.0.1:{proxy.port}", acks="all", enable_idempotence=True
    )
    await producer.start()

    with armed([proxy], where) as point:
        sending = asyncio.create_task(producer.send_and_wait(topic_name, b"once"))
        await point.reached()
        answered = sending.done()
        held = await count(node.bootstrap, topic_name)
    await asyncio.wait_for(sending, 60)
    await producer.stop()
    await proxy.stop()

    assert not answered
    assert least <= held <= most
    assert await count(node.bootstrap, topic_name) == 1, "an idempotent producer sends it once"


async def count(bootstrap: str, topic: str) -> int:
    """The records of the topic's only partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        return (await consumer.end_offsets([partition]))[partition]
    finally:
        await consumer.stop()
