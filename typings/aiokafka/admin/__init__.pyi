from collections.abc import Sequence
from typing import Any

from aiokafka.admin.config_resource import ConfigResource

class NewTopic:
    def __init__(
        self,
        name: str,
        num_partitions: int,
        replication_factor: int,
        replica_assignments: dict[int, list[int]] | None = None,
        topic_configs: dict[str, str] | None = None,
    ) -> None: ...

class NewPartitions:
    def __init__(self, total_count: int) -> None: ...

class TopicsResponse:
    """Errors are in here: nothing is raised."""

    @property
    def topic_errors(self) -> Sequence[tuple[Any, ...]]: ...  # (topic, code, message)

class DeletedResponse:
    """Errors are in here: nothing is raised."""

    @property
    def topic_error_codes(self) -> Sequence[tuple[str, int]]: ...

class ConfigsResponse:
    # (error code, message, resource type, name, ((setting, value, ...), ...))
    @property
    def resources(self) -> Sequence[tuple[Any, ...]]: ...

class AIOKafkaAdminClient:
    def __init__(
        self,
        *,
        bootstrap_servers: str | list[str] = "localhost",
        client_id: str = ...,
        request_timeout_ms: int = 40000,
        retry_backoff_ms: int = 100,
        metadata_max_age_ms: int = 300000,
    ) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def create_topics(
        self, new_topics: list[NewTopic], timeout_ms: int | None = None
    ) -> TopicsResponse: ...
    async def delete_topics(
        self, topics: list[str], timeout_ms: int | None = None
    ) -> DeletedResponse: ...
    async def list_topics(self) -> list[str]: ...
    async def describe_topics(self, topics: list[str] | None = None) -> list[dict[str, Any]]: ...
    async def describe_cluster(self) -> dict[str, Any]: ...
    async def describe_configs(
        self, config_resources: list[ConfigResource]
    ) -> list[ConfigsResponse]: ...
    async def create_partitions(
        self, topic_partitions: dict[str, NewPartitions], timeout_ms: int | None = None
    ) -> Any: ...
