"""Members of one group on real servers: they come, go and are thrown out, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import UnknownError
from crm_kafka.inbox import consumer
from crm_kafka.inbox.marks import read_marks
from crm_kafka.inbox.member import POLL_LIMIT_S
from crm_store import metrics
from structlog.testing import capture_logs
from wire import PATIENCE_S, Wire, expected, until


async def test_three_members_restarted_one_after_another_lose_and_double_nothing(
    wire: Wire,
) -> None:
    await wire.create(partitions=6)
    members = {name: await wire.begin(name) for name in ("a", "b", "c")}
    last = 0

    for name in ("a", "b", "c"):
        for partition in range(6):
            await wire.send_numbers(range(last + 1, last + 51), partition)
        await wire.end(members[name])
        for partition in range(6):
            await wire.send_numbers(range(last + 51, last + 101), partition)
        members[name] = await wire.begin(name)
        last += 100
        for partition in range(6):
            await wire.taken_through(last, partition)
    for member in members.values():
        await wire.end(member)

    for partition in range(6):
        assert await wire.heard(partition) == expected(last, partition)


async def test_a_replica_that_comes_back_under_its_name_takes_its_partitions_up_again(
    wire: Wire,
) -> None:
    await wire.create(partitions=4)
    async with wire.running("a"):
        for round_ in range(3):
            async with wire.running("b"):
                for partition in range(4):
                    await wire.send_numbers([2 * round_ + 1, 2 * round_ + 2], partition)
                for partition in range(4):
                    await wire.taken_through(2 * round_ + 2, partition)

    for partition in range(4):
        assert await wire.heard(partition) == expected(6, partition)


async def test_members_come_and_go_where_nothing_was_ever_published(wire: Wire) -> None:
    """The group knows no offset of such a partition; that is no reason to leave it."""
    await wire.create(partitions=12)
    with capture_logs() as lines:
        async with wire.running("a"):
            for _ in range(3):
                async with wire.running("b"):
                    await until_claimed(lines, 6)
                await until_claimed(lines, 12)


async def until_claimed(lines: list[MutableMapping[str, Any]], partitions: int) -> None:
    """Wait until a member claims so many, and forget what was told before; none may reopen."""

    async def claimed() -> bool:
        told = [(line["event"], line.get("partitions")) for line in lines]
        assert "inbox.reopening" not in dict(told)
        return ("inbox.claimed", partitions) in told

    await until(claimed)
    lines.clear()


async def test_what_a_member_had_is_taken_by_the_others_as_soon_as_it_ends(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "SESSION_TIMEOUT_MS", 600_000)  # nobody waits for its session
    await wire.create(partitions=4)
    async with wire.running("a"):
        other = await wire.begin("b")
        for partition in range(4):
            await wire.send_numbers([1], partition)
            await wire.taken_through(1, partition)

        await wire.end(other)

        for partition in range(4):
            await wire.send_numbers([2], partition)
            await wire.taken_through(2, partition)


@pytest.fixture
def second_join_fails(monkeypatch: pytest.MonkeyPatch) -> list[GroupCoordinator]:
    """Of the first member that joins again, while no poll of its is under way; who it was."""
    join = GroupCoordinator._do_rejoin_group
    failed: list[GroupCoordinator] = []

    async def join_or_fail_once(self: GroupCoordinator, subscription: object) -> bool:
        if self.generation > 0 and not failed:
            failed.append(self)
            await asyncio.sleep(2 * POLL_LIMIT_S)
            raise UnknownError("as a broker may answer")
        return await join(self, subscription)

    monkeypatch.setattr(GroupCoordinator, "_do_rejoin_group", join_or_fail_once)
    return failed


async def test_an_error_of_the_group_reaches_a_member_that_has_no_partitions(
    wire: Wire, second_join_fails: list[GroupCoordinator]
) -> None:
    """The client tells it in a poll and waits until then; without partitions nobody polls."""
    await wire.create(partitions=4)

    await both_take(wire)

    assert second_join_fails, "nothing went wrong"


async def test_a_rebalance_that_never_ends_is_given_up(
    wire: Wire, second_join_fails: list[GroupCoordinator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GroupCoordinator, "check_errors", lambda _: None)  # it says nothing
    monkeypatch.setattr(consumer, "REBALANCE_LIMIT_S", 3.0)
    await wire.create(partitions=4)

    await both_take(wire)

    assert second_join_fails, "nothing went wrong"


async def both_take(wire: Wire) -> None:
    """One member takes all, another one comes and goes, and the first takes all again."""

    async def all_take(number: int) -> None:
        for partition in range(4):
            await wire.send_numbers([number], partition)
        for partition in range(4):
            await wire.taken_through(number, partition)

    async with wire.running("a"):
        await all_take(1)
        async with wire.running("b"):
            await all_take(2)
        await all_take(3)


async def test_two_members_that_read_one_partition_take_each_record_once(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 301))
    lost = metrics.INBOX_LOST_MARKS._value.get()

    # Two groups, one set of marks: each believes that the partition is its own.
    other = Wire(wire.pool, wire.bootstrap, wire.topic, wire.producer, wire.admin)
    async with wire.running("a"), other.running("b", service="another-group"):
        last = 300
        await wire.taken_through(last)
        async with asyncio.timeout(PATIENCE_S):
            while metrics.INBOX_LOST_MARKS._value.get() == lost:  # until both took one at once
                last += 1
                await wire.send_numbers([last])
                await wire.taken_through(last)

    assert await wire.heard() == expected(last)


async def test_group_offsets_follow_the_marks_for_lag_tools(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crm_kafka.inbox.reporting.COMMIT_EVERY_S", 0.1)
    await wire.create()
    await wire.send_numbers(range(1, 8))
    group = f"service-{wire.topic}"
    tp = TopicPartition(wire.topic, 0)

    async def committed() -> bool:
        offsets = await wire.admin.list_consumer_group_offsets(group)
        return tp in offsets and offsets[tp].offset == 7

    async with wire.running():
        await wire.taken_through(7)  # before it the group may not be there to be asked for
        await until(committed)

    assert (await read_marks(wire.pool, [tp]))[tp].offset == 6


async def test_of_two_live_processes_under_one_name_the_later_is_refused(wire: Wire) -> None:
    from crm_kafka.inbox import InstanceTakenError  # noqa: PLC0415

    await wire.create()
    await wire.send_numbers(range(1, 11))
    stop = asyncio.Event()
    first, second = wire.inbox("a"), wire.inbox("a")

    at_work = asyncio.create_task(first.run(stop, beat=lambda: None))
    await wire.taken_through(10)
    with pytest.raises(InstanceTakenError):
        await asyncio.wait_for(second.run(stop, beat=lambda: None), PATIENCE_S)
    await wire.send_numbers(range(11, 21))
    await wire.taken_through(20)
    stop.set()

    assert await asyncio.wait_for(at_work, PATIENCE_S) is None


async def test_an_inbox_that_cannot_hold_its_name_ends_loudly(wire: Wire) -> None:
    await wire.pool.execute("drop table lease")

    running = asyncio.create_task(wire.inbox().run(asyncio.Event(), beat=lambda: None))
    ended, _ = await asyncio.wait({running}, timeout=PATIENCE_S)

    running.cancel()
    assert ended == {running}
    with pytest.raises(asyncpg.UndefinedTableError):
        await running
