"""Topics are created as the contract wants them; one that is otherwise is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import BrokerNotAvailableError
from crm_events.codec import MAX_RECORD_BYTES
from crm_events.topics import Topic
from crm_kafka.producer import BATCH_BYTES
from crm_kafka.topics import TOPIC_MESSAGE_BYTES, WrongTopicError, ensure_topics
from crm_store.errors import is_dependency_error

GOOD = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(TOPIC_MESSAGE_BYTES),
}


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


async def test_a_missing_topic_is_created_to_keep_everything(
    kafka: str, admin: AIOKafkaAdminClient, topic_name: str
) -> None:
    await ensure_topics(kafka, [topic_of(topic_name)], replication_factor=1, min_insync=1)

    [described] = await admin.describe_topics([topic_name])
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic_name)])
    settings = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert len(described["partitions"]) == 12
    assert settings["cleanup.policy"] == "delete"
    assert {key: settings[key] for key in GOOD} == GOOD


async def test_many_may_create_it_at_once(kafka: str, topic_name: str) -> None:
    wanted = [topic_of(topic_name)]

    await asyncio.gather(
        *(ensure_topics(kafka, wanted, replication_factor=1, min_insync=1) for _ in range(4))
    )


async def test_a_topic_with_room_for_larger_batches_is_taken(
    kafka: str, admin: AIOKafkaAdminClient, topic_name: str
) -> None:
    await create(admin, topic_name, {**GOOD, "max.message.bytes": "9000000"})

    await ensure_topics(kafka, [topic_of(topic_name)], replication_factor=1, min_insync=1)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("retention.ms", "604800000", "-1"),
        ("retention.bytes", "1000000", "-1"),
        ("cleanup.policy", "compact", "delete"),
        ("max.message.bytes", "500000", "at least 1048576"),
    ],
)
async def test_a_wrong_setting_is_refused_with_what_was_found(
    kafka: str,
    admin: AIOKafkaAdminClient,
    topic_name: str,
    *,
    setting: str,
    value: str,
    expected: str,
) -> None:
    await create(admin, topic_name, {**GOOD, setting: value})

    with pytest.raises(WrongTopicError) as refused:
        await ensure_topics(kafka, [topic_of(topic_name)], replication_factor=1, min_insync=1)

    error = refused.value
    assert (error.topic, error.setting) == (topic_name, setting)
    assert (error.expected, error.found) == (expected, value)
    assert not is_dependency_error(error)


async def test_another_partition_count_is_refused_with_what_was_found(
    kafka: str, admin: AIOKafkaAdminClient, topic_name: str
) -> None:
    await create(admin, topic_name, GOOD, partitions=3)

    with pytest.raises(WrongTopicError, match="partition count must be 12, found 3"):
        await ensure_topics(kafka, [topic_of(topic_name)], replication_factor=1, min_insync=1)


async def test_too_few_brokers_are_waited_for(kafka: str, topic_name: str) -> None:
    with pytest.raises(BrokerNotAvailableError) as refused:
        await ensure_topics(kafka, [topic_of(topic_name)], replication_factor=3, min_insync=2)

    assert is_dependency_error(refused.value)


def test_the_largest_record_fits_a_batch_and_the_largest_batch_a_topic() -> None:
    assert MAX_RECORD_BYTES <= BATCH_BYTES < TOPIC_MESSAGE_BYTES


def topic_of(name: str) -> Topic:
    return Topic(name, "probe", (), 12)


async def create(
    admin: AIOKafkaAdminClient, name: str, settings: dict[str, str], *, partitions: int = 12
) -> None:
    answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
    assert [code for _, code, *_ in answer.topic_errors] == [0]
