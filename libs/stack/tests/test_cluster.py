"""Three brokers as one cluster: one may go, two may not, and a proxy's address can be told."""

from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from crm_stack.server import free_port
from crm_stack.stack import Stack

pytestmark = [pytest.mark.connected, pytest.mark.xdist_group("cluster")]
TOPIC = "kept"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Stack]:
    with Stack(kafka_nodes=3, kafka_proxy_ports=[free_port() for _ in range(3)]) as stack:
        yield stack


async def send(bootstrap, *, within_ms):
    """One record, acknowledged by a majority."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", request_timeout_ms=within_ms
    )
    await producer.start()
    try:
        return await producer.send_and_wait(TOPIC, b"value")
    finally:
        await producer.stop()


async def test_what_two_have_is_acknowledged_and_what_one_has_is_not(cluster):
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 3, topic_configs={"min.insync.replicas": "2"})])
    await admin.close()
    first, second, third = cluster.kafka.nodes

    first.kill()
    by_two = await send(f"{second.bootstrap},{third.bootstrap}", within_ms=60_000)
    second.kill()
    with pytest.raises(KafkaError):
        await send(third.bootstrap, within_ms=3_000)
    cluster.kafka.restore()
    by_three = await send(cluster.kafka.bootstrap, within_ms=60_000)

    assert cluster.kafka.running
    assert by_three.offset > by_two.offset


async def test_a_client_that_comes_through_a_proxy_is_told_the_proxies(cluster):
    node = cluster.kafka.nodes[0]
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{node.behind_proxy}")

    await client.bootstrap()

    told = {broker.port for broker in client.cluster.brokers()}
    await client.close()
    assert told == set(cluster._proxy_ports)
