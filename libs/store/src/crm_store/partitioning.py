"""In which partition of its topic an event goes, decided once, when it is appended."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiokafka.partitioner import murmur2

if TYPE_CHECKING:
    from uuid import UUID

CACHED_KEYS: Final = 65_536
"""Keys whose partition is remembered: murmur2 is pure Python, customers come again."""


@lru_cache(maxsize=CACHED_KEYS)
def partition_of(key: UUID, partitions: int) -> int:
    """The partition Kafka's own clients give to the record key `str(key)`.

    Source: `DefaultPartitioner` of the Java client, murmur2 of the key's bytes without its sign
    bit, modulo the partition count. So a producer in any language keeps a customer's order.
    """
    digest = murmur2(str(key).encode("ascii"))
    return (digest & 0x7FFFFFFF) % partitions
