"""A publisher's database is put back: it refuses, compares with Kafka, recovers, and goes on."""

from __future__ import annotations

import pytest
from crm_store.errors import LogNotSettledError, NewEpochError
from crm_store.log import epochs
from publishing import Publisher, numbers
from relaying import send_all


async def refuses(publisher: Publisher) -> None:
    """Nothing is appended, and nothing was."""
    before = await publisher.rows()
    with pytest.raises(LogNotSettledError):
        await publisher.append(1_000_000)
    assert await publisher.rows() == before


async def goes_on(publisher: Publisher, *, records: int) -> None:
    """What is appended now bears the next numbers; all that was written is in log and Kafka."""
    relay = publisher.relay()
    await send_all(relay)
    assert len(await publisher.in_kafka()) == records  # nothing was sent again
    await publisher.append(*range(2_000, 2_010))
    await send_all(relay)
    rows = await publisher.rows()
    assert sorted(rows) == sorted(publisher.written)
    assert sorted(numbers(await publisher.in_kafka()).values()) == sorted(rows)
    assert len(await publisher.in_kafka()) == records + 10


async def test_an_old_data_folder_started_as_it_was_is_made_whole_from_kafka(
    publisher: Publisher,
) -> None:
    await publisher.publish(*range(50))
    backup = publisher.site.backup()
    await publisher.publish(*range(50, 120))
    before = numbers(await publisher.in_kafka())

    await publisher.put_back(backup)

    await refuses(publisher)  # before anybody has looked
    relay = publisher.relay()
    assert not await relay.turn()
    newest = await publisher.newest()
    assert (await publisher.state(), newest.missing) == ("waits-for-recover", 70)
    await refuses(publisher)
    recovered = await publisher.recovering().recover()
    assert (recovered.records, await publisher.state()) == (70, "settled")
    await goes_on(publisher, records=120)
    assert before.items() <= numbers(await publisher.in_kafka()).items()


async def test_a_dump_loaded_into_a_new_cluster_is_made_whole_from_kafka(
    publisher: Publisher,
) -> None:
    site = publisher.site
    # So that transaction ids of the old cluster are far above those of the new one.
    for number in range(60):
        await publisher.append(number)
    await publisher.publish()
    dump = site.dump()
    await publisher.publish(*range(60, 100))

    site.renew()
    site.load(dump)
    await publisher.reconnect()

    await refuses(publisher)
    assert not await publisher.relay().turn()
    assert (await publisher.newest()).missing == 40
    await publisher.recovering().recover()
    await goes_on(publisher, records=100)


async def test_a_stale_standby_that_was_promoted_is_made_whole_from_kafka(
    publisher: Publisher,
) -> None:
    site = publisher.site
    standby = site.standby()
    await publisher.publish(*range(50))
    site.caught_up(standby)
    standby.stop()
    await publisher.publish(*range(50, 90))

    site.fail_over(standby)
    await publisher.reconnect()

    await refuses(publisher)
    assert (await publisher.newest()).elsewhere  # the timeline is told at once
    assert not await publisher.relay().turn()
    assert (await publisher.newest()).missing == 40
    await publisher.recovering().recover()
    await goes_on(publisher, records=90)


async def test_a_standby_that_lacks_nothing_goes_on_by_itself(publisher: Publisher) -> None:
    standby = publisher.site.standby()
    await publisher.publish(*range(50))
    await publisher.append(*range(50, 60))
    publisher.site.caught_up(standby)

    publisher.site.fail_over(standby)
    await publisher.reconnect()

    await refuses(publisher)
    await send_all(publisher.relay())
    newest = await publisher.newest()
    assert (newest.open, newest.elsewhere, newest.epoch) == (True, False, 2)
    await goes_on(publisher, records=60)


async def test_a_crashed_server_that_comes_back_goes_on_by_itself(publisher: Publisher) -> None:
    await publisher.publish(*range(50))
    await publisher.append(*range(50, 60))

    await publisher.crash()

    assert not (await publisher.newest()).elsewhere
    await refuses(publisher)
    await send_all(publisher.relay())
    assert await publisher.state() == "settled"
    await goes_on(publisher, records=60)


async def test_a_database_lost_altogether_is_made_anew_from_kafka(publisher: Publisher) -> None:
    await publisher.publish(*range(50))

    publisher.site.renew()
    await publisher.install()

    assert not await publisher.relay().turn()
    await refuses(publisher)
    assert (await publisher.recovering().recover()).records == 50
    await goes_on(publisher, records=50)


async def test_what_reached_neither_the_backup_nor_kafka_is_lost(publisher: Publisher) -> None:
    await publisher.publish(*range(10))
    backup = publisher.site.backup()
    await publisher.publish(*range(10, 20))
    await publisher.append(*range(20, 25))  # acknowledged, not sent
    lost = [publisher.written.pop() for _ in range(5)]

    await publisher.put_back(backup)
    assert (await publisher.recovering().recover()).records == 10

    assert not set(lost) & set(await publisher.rows())
    await goes_on(publisher, records=20)


async def test_rows_of_the_backup_that_kafka_lacks_are_sent_with_their_numbers(
    publisher: Publisher,
) -> None:
    await publisher.publish(*range(10))
    await publisher.append(*range(10, 20))
    backup = publisher.site.backup()  # ten rows are owed in it
    await publisher.append(*range(20, 40))
    # Of the page with all thirty, Kafka acknowledged one partition before the end.
    relay = publisher.relay()
    page = await relay.read_page()
    parcel = await relay.number(page)
    (topic, partition), bundle = max(parcel.bundles.items(), key=lambda one: one[1].sequence)
    await relay.send(type(parcel)(page, {(topic, partition): bundle}))
    sent = numbers(await publisher.in_kafka())
    publisher.written = publisher.written[:20] + [
        one for one in publisher.written[20:] if one in set(sent.values())
    ]

    await publisher.put_back(backup)
    assert not await publisher.relay().turn()
    await publisher.recovering().recover()
    await send_all(publisher.relay())

    after = numbers(await publisher.in_kafka())
    assert sent.items() <= after.items()
    assert sorted(after.values()) == sorted(publisher.written) == sorted(await publisher.rows())


async def always_settled(_):
    return True


async def test_without_the_refusal_one_number_would_stand_for_two_events(
    publisher: Publisher,
) -> None:
    await publisher.publish(*range(50))
    backup = publisher.site.backup()
    await publisher.publish(*range(50, 120))
    await publisher.put_back(backup)

    await epochs.begin(publisher.pool, await publisher.newest())  # opened, and never compared
    await publisher.append(*range(500, 570))
    await send_all(publisher.relay(settled=always_settled))

    with pytest.raises(AssertionError):
        numbers(await publisher.in_kafka())


async def test_a_process_that_lived_through_it_forgets_what_it_knew(publisher: Publisher) -> None:
    log, forgot = publisher.probe.log, []
    log.forget_with(lambda: forgot.append(True))
    await publisher.publish(*range(10))
    known = await log.epoch()
    await publisher.crash()
    await send_all(publisher.relay())

    with pytest.raises(NewEpochError):
        await log.append(epoch=known, streams=[publisher.probe.stream(publisher.written[0], 0, 1)])

    assert forgot == [True]
    assert await log.epoch() == known + 1
