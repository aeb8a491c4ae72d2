"""`recover` in steps: begun anew, begun twice, refused by name, and what it writes."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from crm_kafka.key_outbox import KeyOutbox
from crm_kafka.relay.progress import load
from crm_kafka.relay.republish import republish
from crm_kafka.restore import inserting
from crm_kafka.restore.comparing import DivergedError, HoleError
from crm_kafka.restore.inserting import CannotRecoverError, Inserting
from crm_kafka.restore.recovering import report
from crm_store.database import open_pool
from crm_store.errors import LogNotSettledError, sqlstate
from crm_store.log import epochs
from crm_store.log.entries import VersionConflictError
from probe import STAYS_OPEN
from publishing import Publisher, numbers
from relaying import Leads, send_all
from wire import message


@pytest.fixture
async def restored(publisher: Publisher) -> Publisher:
    """A publisher whose log lacks the last 90 of its 120 events."""
    await publisher.publish(*range(30))
    backup = publisher.site.backup()
    await publisher.publish(*range(30, 120))
    await publisher.put_back(backup)
    return publisher


async def test_killed_between_two_transactions_it_goes_on_where_it_was(
    restored: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inserting, "ROWS_AT_ONCE", 20)
    write, written = Inserting.write, []

    async def killed(self: Inserting) -> None:
        if len(written) == 2:
            raise ConnectionResetError
        await write(self)
        written.append(self.records)

    monkeypatch.setattr(Inserting, "write", killed)
    with pytest.raises(ConnectionResetError):
        await restored.recovering().recover()
    assert written == [20, 40]
    assert not await restored.relay().turn()  # still closed
    monkeypatch.setattr(Inserting, "write", write)

    again = await restored.recovering().recover()

    assert again.records == 50
    assert await restored.pool.fetchval("select recovered from log_epoch order by epoch desc")
    assert sorted(await restored.rows()) == sorted(restored.written)
    await restored.append(2_000)
    await send_all(restored.relay())
    assert len(numbers(await restored.in_kafka())) == len(await restored.in_kafka()) == 121


async def test_of_two_that_recover_at_once_one_loses(
    restored: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inserting, "ROWS_AT_ONCE", 10)
    write, both = Inserting.write, asyncio.Barrier(2)

    async def at_once(self: Inserting) -> None:
        if not self.records:  # neither has written when the other is about to
            await both.wait()
        await write(self)

    monkeypatch.setattr(Inserting, "write", at_once)

    outcomes = await asyncio.gather(
        *(restored.recovering().recover() for _ in range(2)), return_exceptions=True
    )

    assert any(isinstance(one, CannotRecoverError) for one in outcomes)
    if await restored.state() != "settled":  # each stopped the other
        monkeypatch.setattr(Inserting, "write", write)
        await restored.recovering().recover()
    assert sorted(await restored.rows()) == sorted(restored.written)


async def test_a_dry_run_shows_what_would_come_back_and_writes_nothing(
    restored: Publisher,
) -> None:
    before = await restored.newest()

    lines = await report(restored.recovering(), dry_run=True)

    assert lines[-2:] == [
        "not published, cannot come back: probe.thing.noted",
        "90 records would come back",
    ]
    assert sum(int(line.split()[2]) for line in lines[:-2]) == 90
    assert await restored.newest() == before
    assert len(await restored.rows()) == 30


async def test_nothing_is_missing_and_recover_says_so(publisher: Publisher) -> None:
    await publisher.publish(*range(10))

    done = await publisher.recovering().recover()

    assert (done.records, done.epoch) == (0, 1)
    assert await publisher.state() == "settled"


async def test_records_come_back_in_the_order_they_were_recorded_in(restored: Publisher) -> None:
    order = restored.written

    await restored.recovering().recover()

    recorded = await restored.pool.fetch("select recorded_at from log order by epoch, xid, gp")
    assert all(a["recorded_at"] <= b["recorded_at"] for a, b in pairwise(recorded))
    places = {one: place for place, one in enumerate(order)}
    of_partition: dict[int, list[int]] = {}
    for row in await restored.pool.fetch(
        "select partition, event_id from log order by epoch, xid, gp"
    ):
        of_partition.setdefault(row["partition"], []).append(places[row["event_id"]])
    assert all(found == sorted(found) for found in of_partition.values())


async def test_a_stream_goes_on_at_the_version_it_had(publisher: Publisher) -> None:
    log, probe, stream = publisher.probe.log, publisher.probe, UUID(int=77)
    await log.append(streams=[probe.stream(stream, 0, 1, 2)])
    await publisher.publish()
    backup = publisher.site.backup()
    await log.append(streams=[probe.stream(stream, 2, 3, 4)])
    await publisher.publish()
    await publisher.put_back(backup)
    await publisher.recovering().recover()
    await publisher.append(1)  # learns of the epoch

    with pytest.raises(VersionConflictError):
        await log.append(streams=[probe.stream(stream, 2, 9)])
    await log.append(streams=[probe.stream(stream, 4, 5)])

    events = await log.load(stream, opens=False)
    assert [one.event.number for one in events] == [1, 2, 3, 4, 5]


async def test_a_number_that_is_another_event_in_kafka_is_refused_by_name(
    restored: Publisher,
) -> None:
    await epochs.begin(restored.pool, await restored.newest())  # opened, and never compared
    await restored.append(*range(500, 510))
    await restored.crash()

    assert not await restored.relay().turn()
    with pytest.raises(DivergedError, match="is another event in Kafka"):
        await restored.recovering().recover()
    with pytest.raises(LogNotSettledError):
        await restored.append(600)


async def test_a_number_that_nobody_has_is_refused_by_name(restored: Publisher, kafka: str) -> None:
    last = max(await restored.in_kafka(), key=lambda one: one.sequence)
    await send(kafka, restored.topic.name, last.partition, last.sequence + 2)

    with pytest.raises(HoleError, match=f"number {last.sequence + 1} is neither"):
        await restored.recovering().recover()
    assert len(await restored.rows()) == 30


async def test_a_topic_that_was_being_sent_again_keeps_its_numbers(publisher: Publisher) -> None:
    await publisher.publish(*range(30))
    await republish(publisher.pool, publisher.topic.name)
    backup = publisher.site.backup()
    await publisher.publish(*range(30, 60))
    before = numbers(await publisher.in_kafka())
    await publisher.put_back(backup)

    assert not await publisher.relay().turn()
    assert (await publisher.recovering().recover()).records == 30
    await publisher.append(*range(60, 70))
    await send_all(publisher.relay())

    after = numbers(await publisher.in_kafka())
    assert before.items() <= after.items()
    assert sorted(after.values()) == sorted(publisher.written)
    assert not (await load(publisher.pool)).again


async def test_records_put_into_an_open_log_s_topics_close_it_at_the_next_start(
    publisher: Publisher,
) -> None:
    """Data loaded by hand into a running server: the server is the same, its tables too."""
    await publisher.publish(*range(30))
    await publisher.pool.execute("create table kept as select * from log")
    before = await publisher.pool.fetch("select * from relay_sequence")
    await publisher.publish(*range(30, 60))
    await publisher.pool.execute("delete from log where gp not in (select gp from kept)")
    await publisher.pool.execute("delete from relay_sequence")
    await publisher.pool.copy_records_to_table("relay_sequence", records=[tuple(r) for r in before])
    await publisher.pool.execute(
        "update relay_position set (epoch, xid, gp) = "
        "(select epoch, xid, gp from log order by epoch desc, xid desc, gp desc limit 1)"
    )

    assert await publisher.state() == "settled"
    assert not await publisher.relay().turn()
    assert (await publisher.newest()).missing == 30
    assert (await publisher.recovering().recover()).records == 30
    assert sorted(await publisher.rows()) == sorted(publisher.written)


async def test_a_log_is_closed_only_when_nobody_writes_under_its_epoch(
    publisher: Publisher,
) -> None:
    beats = []
    async with (
        open_pool(publisher.site.url, application_name="slow", max_size=1) as slow,
        slow.acquire() as connection,
    ):
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(STAYS_OPEN)
        await connection.execute("select open_epoch(null)")

        def end_it() -> None:
            beats.append(True)

        closing = asyncio.create_task(
            epochs.close(publisher.pool, await publisher.newest(), missing=1, beat=end_it)
        )
        while len(beats) < 2:
            await asyncio.sleep(0.01)
        assert not closing.done()
        await transaction.rollback()
        await closing

    with pytest.raises(Exception, match="not settled") as refused:
        await publisher.pool.execute("select open_epoch(null)")
    assert sqlstate(refused.value) == "KS001"


async def test_keys_of_a_log_that_is_not_settled_are_not_sent(publisher: Publisher) -> None:
    await publisher.pool.execute(
        "insert into subject_key (key_id, kek_id, wrapped, unsent) values ('k', 'e', 'w', true)"
    )
    outbox = KeyOutbox(
        pool=publisher.pool,
        service="probe",
        bootstrap=publisher.kafka,
        replication_factor=1,
        min_insync=1,
        lease=Leads(),
        wake=asyncio.Event(),
        topic=f"{publisher.topic.name}.keys",
    )
    assert [key.key_id for key in await outbox.read()] == ["k"]

    await publisher.crash()

    assert await outbox.read() == []


async def send(kafka: str, topic: str, partition: int, number: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        key, value, headers = message(partition, number)
        await producer.send_and_wait(topic, value, key, partition=partition, headers=headers)
    finally:
        await producer.stop()
