"""Topics as the contract wants them: created where missing, refused where they are otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerNotAvailableError,
    InvalidReplicationFactorError,
    KafkaTimeoutError,
    NotControllerError,
    TopicAlreadyExistsError,
    for_code,
)

from crm_kafka.consumer import close

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from crm_events.topics import Topic

TOPIC_MESSAGE_BYTES: Final = 1_048_576
"""`max.message.bytes`: Kafka counts whole batches, so this is also above any single record."""
REQUEST_TIMEOUT_MS: Final = 5_000
SEEN_WITHIN_S: Final = 10.0
LOOK_AGAIN_S: Final = 0.1

_UNLIMITED: Final = "-1"
_HOUR_MS: Final = 3_600_000
_TEN_MINUTES_MS: Final = 600_000


class WrongTopicError(Exception):
    """A topic exists and is not as it must be. Nobody but its operator may change that."""

    def __init__(self, topic: str, setting: str, *, expected: str, found: str) -> None:
        super().__init__(f"topic {topic}: {setting} must be {expected}, found {found}")
        self.topic, self.setting, self.expected, self.found = topic, setting, expected, found


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a topic must be. It is created with every value given; `least` may be above it."""

    name: str
    partitions: int
    exactly: Mapping[str, str]
    least: Mapping[str, int]
    most: Mapping[str, int]


def kept(topic: Topic, *, min_insync: int) -> Wanted:
    """A contract topic: it keeps everything, for good."""
    return Wanted(
        topic.name,
        topic.partitions,
        exactly={
            "cleanup.policy": "delete",
            "retention.ms": _UNLIMITED,
            "retention.bytes": _UNLIMITED,
        },
        least={"max.message.bytes": TOPIC_MESSAGE_BYTES, "min.insync.replicas": min_insync},
        most={},
    )


def compacted(name: str, partitions: int, *, min_insync: int) -> Wanted:
    """A topic that keeps the last record of each key, and forgets the others within the hour.

    What is replaced is gone `max.compaction.lag.ms` after its segment closed: the bound on how
    long a destroyed subject key stays readable in Kafka.
    """
    return Wanted(
        name,
        partitions,
        exactly={"cleanup.policy": "compact"},
        least={"min.insync.replicas": min_insync},
        most={"max.compaction.lag.ms": _HOUR_MS, "segment.ms": _TEN_MINUTES_MS},
    )


async def ensure_topics(
    bootstrap: str, topics: Iterable[Topic], *, replication_factor: int, min_insync: int
) -> None:
    """Create the contract topics that are missing, check those that exist.

    Raises:
        WrongTopicError: one exists with another partition count, retention or size limit.
        KafkaError, OSError: no broker answered, or too few are up for the replication factor.
    """
    wanted = [kept(topic, min_insync=min_insync) for topic in topics]
    await ensure(bootstrap, wanted, replication_factor=replication_factor)


async def ensure(bootstrap: str, wanted: Sequence[Wanted], *, replication_factor: int) -> None:
    """As `ensure_topics`, for topics of any kind."""
    if not wanted:
        return
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS, retry_backoff_ms=100
    )
    try:
        await admin.start()
        found = await _partitions(admin, wanted)
        missing = [topic for topic in wanted if topic.name not in found]
        if missing:
            await _create(admin, missing, replication_factor)
            found = await _seen(admin, wanted)
        for topic in wanted:
            if found[topic.name] != topic.partitions:
                raise WrongTopicError(
                    topic.name,
                    "partition count",
                    expected=str(topic.partitions),
                    found=str(found[topic.name]),
                )
        await _check_settings(admin, wanted)
    finally:
        await close(admin.close())


async def _create(
    admin: AIOKafkaAdminClient, missing: Sequence[Wanted], replication_factor: int
) -> None:
    if (await admin.describe_cluster())["controller_id"] < 0:
        raise NotControllerError("the cluster has no controller yet")
    response = await admin.create_topics(
        [
            NewTopic(
                topic.name,
                topic.partitions,
                replication_factor,
                topic_configs={
                    **topic.exactly,
                    **{key: str(value) for key, value in {**topic.least, **topic.most}.items()},
                },
            )
            for topic in missing
        ],
        timeout_ms=REQUEST_TIMEOUT_MS,
    )
    # create_topics never raises: the answer holds a code for each topic.
    for name, code, *message in response.topic_errors:
        kind = for_code(code)
        if code == 0 or kind is TopicAlreadyExistsError:  # another replica was first
            continue
        reason = f"topic {name} was not created: {message[0] if message else kind.__name__}"
        if kind is InvalidReplicationFactorError:
            raise BrokerNotAvailableError(reason)  # brokers are missing: they may come up yet
        raise kind(reason)


async def _seen(admin: AIOKafkaAdminClient, wanted: Sequence[Wanted]) -> dict[str, int]:
    """Partition counts once every topic shows up: metadata trail behind creation."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SEEN_WITHIN_S
    while True:
        found = await _partitions(admin, wanted)
        if len(found) == len(wanted):
            return found
        if loop.time() > until:
            absent = ", ".join(topic.name for topic in wanted if topic.name not in found)
            raise KafkaTimeoutError(f"created and not seen within {SEEN_WITHIN_S} s: {absent}")
        await asyncio.sleep(LOOK_AGAIN_S)


async def _partitions(admin: AIOKafkaAdminClient, wanted: Sequence[Wanted]) -> dict[str, int]:
    described = await admin.describe_topics([topic.name for topic in wanted])
    return {each["topic"]: len(each["partitions"]) for each in described if each["error_code"] == 0}


async def _check_settings(admin: AIOKafkaAdminClient, wanted: Sequence[Wanted]) -> None:
    responses = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in wanted]
    )
    settings: dict[str, dict[str, str]] = {}
    for response in responses:
        for code, message, _, name, entries in response.resources:
            if code:
                raise for_code(code)(f"topic {name} cannot be described: {message}")
            settings[name] = {entry[0]: entry[1] for entry in entries}
    for topic in wanted:
        found = settings[topic.name]
        for setting, expected in _departures(topic, found):
            raise WrongTopicError(
                topic.name, setting, expected=expected, found=str(found.get(setting))
            )


def _departures(topic: Wanted, found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each setting that is otherwise, with what it must be."""
    for setting, value in topic.exactly.items():
        if found.get(setting) != value:
            yield setting, value
    for setting, least in topic.least.items():
        if int(found.get(setting, -1)) < least:
            yield setting, f"at least {least}"
    for setting, most in topic.most.items():
        if int(found.get(setting, most + 1)) > most:
            yield setting, f"at most {most}"
