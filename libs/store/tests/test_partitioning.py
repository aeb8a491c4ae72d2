"""An event's partition is the one that Kafka's Java client would give its key."""

from __future__ import annotations

from uuid import UUID

import pytest
from crm_store.partitioning import partition_of
from hypothesis import given
from hypothesis import strategies as st

# Of Kafka's own tests of `Utils.murmur2`.
KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def java_murmur2(data: bytes) -> int:
    """Murmur2 in the words of Java: 32-bit signed numbers that overflow."""
    m = 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & 0xFFFFFFFF
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & 0xFFFFFFFF
        h = (h * m & 0xFFFFFFFF) ^ ((k ^ k >> 24) * m & 0xFFFFFFFF)
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    h ^= h >> 15
    return h - 2**32 if h >= 2**31 else h


@pytest.mark.parametrize(("data", "hashed"), KNOWN.items())
def test_the_reference_gives_the_published_answers(data: bytes, hashed: int) -> None:
    assert java_murmur2(data) == hashed


@given(key=st.uuids(), partitions=st.integers(1, 200))
def test_a_partition_is_what_the_java_client_gives_the_key_as_text(
    key: UUID, partitions: int
) -> None:
    expected = (java_murmur2(str(key).encode()) & 0x7FFFFFFF) % partitions

    assert partition_of(key, partitions) == expected
