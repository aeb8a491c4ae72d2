"""The abstract classes of aiokafka 0.14 that Kith and FastStream use."""

from collections.abc import Collection
from typing import Any

from aiokafka import TopicPartition

class AbstractTokenProvider: ...

class ConsumerRebalanceListener:
    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> Any: ...
    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> Any: ...
