"""Kafka to log on real servers: each record once and in order, whatever was done to the topic."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aiokafka import TopicPartition
from crm_kafka.inbox.marks import read_marks
from crm_store import metrics
from crm_store.clock import utc_now
from wire import AT, Wire, expected, message, until


def outcomes(wire: Wire, outcome: str) -> float:
    return metrics.INBOX_RECORDS.labels(topic=wire.topic, outcome=outcome)._value.get()


async def until_holding(wire: Wire, partition: int = 0) -> None:
    gauge = metrics.INBOX_HOLDING.labels(topic=wire.topic, partition=str(partition))

    async def holds() -> bool:
        return gauge._value.get() == 1

    await until(holds)


async def test_records_are_taken_in_order_and_the_log_is_told(wire: Wire) -> None:
    await wire.create(partitions=3)
    for partition in range(3):
        await wire.send_numbers(range(1, 201), partition)

    async with wire.running():
        for partition in range(3):
            await wire.taken_through(200, partition)

    for partition in range(3):
        assert await wire.heard(partition) == expected(200, partition)
    assert wire.wakes > 0
    assert wire.beats > 0


async def test_a_member_says_how_many_partitions_its_group_gave_it(wire: Wire) -> None:
    await wire.create(partitions=3)
    await wire.send_numbers([1])

    async with wire.running():
        await wire.taken_through(1)
        had = metrics.INBOX_PARTITIONS._value.get()

    assert had == 3
    assert metrics.INBOX_PARTITIONS._value.get() == 0


async def test_what_comes_later_is_taken_while_it_runs(wire: Wire) -> None:
    await wire.create()

    async with wire.running():
        for number in range(1, 6):
            await wire.send_numbers([number])
            await wire.taken_through(number)

    assert await wire.heard() == expected(5)


async def test_a_topic_that_was_sent_twice_is_taken_once(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers([1, 2, 2, 3, 1, 2, 3, 4])
    await wire.send_numbers(range(1, 501))
    await wire.send_numbers(range(1, 501))
    await wire.send_numbers([501])

    async with wire.running():
        await wire.taken_through(501)

    assert await wire.heard() == expected(501)


async def test_a_gap_holds_its_partition_and_no_other_until_the_relay_sends_again(
    wire: Wire,
) -> None:
    await wire.create(partitions=2)
    await wire.send_numbers([1, 2, 4, 5])

    async with wire.running():
        await until_holding(wire)
        await wire.send_numbers(range(1, 11), partition=1)
        await wire.taken_through(10, partition=1)
        held = await wire.heard()
        await wire.send_numbers([3, 4, 5, 6])
        await wire.taken_through(6)

    assert held == expected(2)
    assert await wire.heard() == expected(6)
    assert metrics.INBOX_HOLDING.labels(topic=wire.topic, partition="0")._value.get() == 0


async def test_while_records_wait_the_last_one_taken_grows_old(wire: Wire) -> None:
    async def aged() -> bool:
        return age.get() > 0

    async def level() -> bool:
        return age.get() == 0

    age = metrics.INBOX_AGE_SECONDS.labels(topic=wire.topic, partition="0")._value
    await wire.create()
    await wire.send_numbers([1, 3])

    async with wire.running():
        await until(aged)
        told, now = age.get(), utc_now()
        await wire.send_numbers([2, 3])
        await until(level)

    recorded_at = AT + timedelta(seconds=1)
    assert told == pytest.approx((now - recorded_at).total_seconds(), abs=60)


async def test_a_lost_record_that_alone_is_sent_again_frees_those_before_it(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers([1, 3, 4, 5])

    async with wire.running():
        await until_holding(wire)
        await wire.send_numbers([2])
        await wire.taken_through(5)

    assert await wire.heard() == expected(5)


async def test_a_lost_record_holds_over_a_restart_and_republishing_heals_it(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers([1, 2, 3, 5, 6, 7])

    async with wire.running():
        await until_holding(wire)
    async with wire.running():
        await until_holding(wire)
        await wire.send_numbers(range(2, 9))  # from a number on, through to the head
        await wire.taken_through(8)

    assert await wire.heard() == expected(8)


async def test_a_partition_that_holds_for_a_minute_is_told_with_the_first_missing_number(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("crm_kafka.inbox.reporting.ALERT_AFTER_S", 0.0)
    await wire.create()
    await wire.send_numbers([1, 3])
    said = ""

    async def told() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "inbox.holding" in said

    async with wire.running():
        await until(told)

    line = next(line for line in said.splitlines() if "inbox.holding" in line)
    assert wire.topic in line
    assert "first_missing=2" in line.replace("\x1b[0m", "").replace("\x1b[36m", "").replace(
        "\x1b[35m", ""
    )


async def test_a_record_without_readable_headers_holds_its_partition(wire: Wire) -> None:
    await wire.create(partitions=2)
    await wire.send(
        [message(0, 1), (b"k", b"{}", [("ce_id", b"\xff")]), (b"k", b"", []), message(0, 3)]
    )
    await wire.send_numbers([1, 2], partition=1)

    async with wire.running():
        await until_holding(wire)
        await wire.taken_through(2, partition=1)
        held = await wire.heard()
        await wire.send_numbers([2, 3])
        await wire.taken_through(3)

    assert held == expected(1)
    assert await wire.heard() == expected(3)
    assert outcomes(wire, "unreadable") > 0


async def test_a_publisher_that_went_another_way_stops_its_partition_and_no_other(
    wire: Wire,
) -> None:
    await wire.create(partitions=2)
    await wire.send([message(0, 1), message(0, 2), message(0, 2, branch="b"), message(0, 3)])
    stopped = metrics.INBOX_STOPPED.labels(topic=wire.topic, partition="0")

    async def is_stopped() -> bool:
        return stopped._value.get() == 1

    for _ in range(2):  # also over a restart
        stopped.set(0)
        async with wire.running():
            await until(is_stopped)
            await wire.send_numbers([1, 2, 3], partition=1)
            await wire.taken_through(3, partition=1)

    assert await wire.heard() == expected(2)


async def test_values_and_envelopes_that_cannot_be_taken_are_kept_aside(wire: Wire) -> None:
    await wire.create()
    key, _, headers = message(0, 2)
    bad_key = (b"customer 7", b"{}", message(0, 6)[2])
    await wire.send(
        [
            message(0, 1),
            (key, b"\xff", headers),
            (key, b'{"a": "\0"}', message(0, 3)[2]),
            (key, b"{", message(0, 4)[2]),
            message(0, 5, ce_subject=b"nobody"),
            bad_key,
            (key, None, message(0, 7)[2]),
            message(0, 8, ce_type=b"later.release.knows", ce_dataschema=b"https://kith.invalid/schemas/later.release.knows/v9"),
            message(0, 9),
        ]
    )  # fmt: skip

    async with wire.running():
        await wire.taken_through(9)

    rows = await wire.pool.fetch("select l.sequence, l.type, l.partition_key from log l order by 1")
    types = {row["sequence"]: row["type"] for row in rows}
    assert types[8] == "later.release.knows"
    assert [n for n, kind in types.items() if kind == "crm.quarantined"] == [2, 3, 4, 5, 6, 7]
    assert await wire.heard() == expected(9)
    kept = await wire.pool.fetch("select * from quarantine order by sequence")
    assert [row["sequence"] for row in kept] == [2, 3, 4, 5, 6, 7]
    assert kept[0]["value"] == b"\xff"
    assert rows[5]["partition_key"].version == 5


async def test_a_restart_goes_on_from_the_mark(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 101))
    async with wire.running():
        await wire.taken_through(100)
    await wire.send_numbers(range(101, 151))
    duplicates = outcomes(wire, "duplicate")

    async with wire.running():
        await wire.taken_through(150)

    assert await wire.heard() == expected(150)
    read_again = outcomes(wire, "duplicate") - duplicates
    assert 1 <= read_again < 100  # the mark's own record, at each take-up, and none before it


async def test_a_topic_cut_below_the_mark_goes_on(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 11))
    async with wire.running():
        await wire.taken_through(10)
    await wire.send_numbers([11])
    await wire.truncate(before=10)

    async with wire.running():
        await wire.taken_through(11)
        await wire.send_numbers([12])
        await wire.taken_through(12)

    assert await wire.heard() == expected(12)


async def test_a_topic_cut_above_the_mark_holds_until_it_is_published_again(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 11))
    async with wire.running():
        await wire.taken_through(10)
    await wire.send_numbers(range(11, 21))
    await wire.truncate(before=15)

    async with wire.running():
        await until_holding(wire)
        held = await wire.heard()
        await wire.send_numbers(range(11, 21))
        await wire.taken_through(20)

    assert held == expected(10)
    assert await wire.heard() == expected(20)


async def test_a_topic_cut_while_it_is_read_goes_on(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers([1, 2, 4])

    async with wire.running():
        await until_holding(wire)
        await wire.truncate(before=3)
        await wire.send_numbers([3, 4, 5])
        await wire.taken_through(5)

    assert await wire.heard() == expected(5)


async def test_a_topic_made_anew_is_read_from_its_beginning(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 21))
    async with wire.running():
        await wire.taken_through(20)
    await wire.recreate()
    await wire.send_numbers(range(15, 26))

    async with wire.running():
        await wire.taken_through(25)

    assert await wire.heard() == expected(25)


async def test_a_topic_made_anew_and_already_longer_is_read_from_its_beginning(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers([1, 1, 1, 2, 3, 4, 5])
    async with wire.running():
        await wire.taken_through(5)
    await wire.recreate()
    await wire.send_numbers(range(1, 31))

    async with wire.running():
        await wire.taken_through(30)

    assert await wire.heard() == expected(30)


async def test_a_topic_made_anew_and_longer_under_a_running_inbox_is_taken(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers([1, 1, 1, 2, 3, 4, 5])

    async with wire.running():
        await wire.taken_through(5)
        await wire.recreate()
        await wire.send_numbers(range(1, 31))
        await wire.taken_through(30)

    assert await wire.heard() == expected(30)


async def test_a_topic_that_is_not_there_yet_is_waited_for(wire: Wire) -> None:
    async with wire.running():
        beaten = wire.beats

        async def waits() -> bool:
            return wire.beats > beaten + 2

        await until(waits)
        await wire.create()
        await wire.send_numbers([1, 2])
        await wire.taken_through(2)

    assert await wire.heard() == expected(2)


async def test_a_missing_topic_keeps_no_other_from_being_taken(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers([1, 2])

    async with wire.running(topics=[wire.topic, f"{wire.topic}.none"]):
        await wire.taken_through(2)

    assert await wire.heard() == expected(2)


async def test_a_stop_lets_the_statement_under_way_end(wire: Wire) -> None:
    await wire.create()
    await wire.send_numbers(range(1, 2001))

    async with wire.running():
        await wire.taken_through(1)

    heard = await wire.heard()
    tp = TopicPartition(wire.topic, 0)
    assert heard == expected(len(heard))
    assert (await read_marks(wire.pool, [tp]))[tp].sequence == len(heard)
