from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from tests.bench.load import CUSTOMERS, EVENT_BYTES, latency, open_loop, percentile, samples, totals


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed():
    values = list(range(1, 101))

    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([3.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_latencies_are_told_in_milliseconds_with_the_generators_own_lateness():
    told = latency([n / 1000 for n in range(1, 101)], [0.0, 0.002])

    assert (told.count, told.p50_ms, told.p99_ms, told.max_ms) == (100, 50, 99, 100)
    assert told.late_p99_ms == 2


def test_one_seed_gives_the_same_events_of_300_bytes():
    first, again = list(samples(500)), list(samples(500))

    assert first == again
    assert {len(one.body()) for one in first} == {EVENT_BYTES}
    assert list(samples(500, seed=8)) != first


def test_zipf_gives_the_first_customer_its_share_and_unique_gives_each_event_its_own():
    zipf = [one.customer_id for one in samples(20_000)]
    harmonic = sum(1 / rank for rank in range(1, CUSTOMERS + 1))

    most = Counter(zipf).most_common(1)[0][1]

    assert most / 20_000 == pytest.approx(1 / harmonic, rel=0.1)
    assert len({one.customer_id for one in samples(2_000, keys="unique")}) == 2_000


def test_the_oracle_counts_and_sums_by_customer():
    events = list(samples(3_000))

    told = totals(events)

    assert sum(one.count for one in told.values()) == 3_000
    assert sum(one.cents for one in told.values()) == sum(one.value for one in events)


async def test_a_stall_is_charged_to_every_event_that_it_made_wait():
    turn = asyncio.Lock()
    took = []

    async def send(n: int, due: float) -> None:
        async with turn:
            if n == 0:
                await asyncio.sleep(0.2)
            took.append(time.perf_counter() - due)

    late = await open_loop(send, rate=100, seconds=0.2)

    assert len(took) == len(late) == 20
    assert took[0] >= 0.19
    assert took[10] >= 0.08  # due after 0.1 s, served after 0.2 s
