"""A disk that is full under a real server, and has room again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from crm_stack import small_disk as disks
from crm_stack.small_disk import SmallDisk, can_mount, lying_on, size_megabytes, small_disk

pytestmark = [
    pytest.mark.connected,
    pytest.mark.skipif(not can_mount(), reason="mounting a small disk takes root"),
]


@pytest.fixture
def disk(request) -> Iterator[SmallDisk]:
    with small_disk(request.param) as disk:
        yield disk


@pytest.mark.parametrize("disk", [400], indirect=True)
async def test_postgres_refuses_what_finds_no_room_and_has_everything_before_it(
    stack, database, disk
):
    await execute(database, "create table kept (id int, filler text)")
    await execute(database, "insert into kept values (1, '')")

    with lying_on(disk, stack.postgres):
        lies_on_it = size_megabytes(disk.folder) > 10
        disk.fill()
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await execute(
                database,
                "insert into kept select 0, repeat('x', 1000) from generate_series(1, 100000)",
            )
        disk.free()
        stack.postgres.restore()
        await execute(database, "insert into kept values (2, '')")

    connection = await asyncpg.connect(database)
    kept = await connection.fetch("select id from kept order by id")
    await connection.close()
    assert lies_on_it
    assert [row["id"] for row in kept] == [1, 2]


@pytest.mark.parametrize("disk", [100], indirect=True)
async def test_kafka_acknowledges_nothing_without_room_and_goes_on_with_it(
    stack, kafka, topic_name, disk
):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic_name, 1, 1)])
    await admin.close()

    with lying_on(disk, stack.kafka):
        await send(kafka, topic_name, b"1")
        disk.fill()
        with pytest.raises(KafkaError):
            await send(kafka, topic_name, bytes(900_000), within_ms=3_000)
        disk.free()
        stack.kafka.restart()
        again = await send(kafka, topic_name, b"2")

    last = await send(kafka, topic_name, b"3")
    assert last.offset == again.offset + 1


async def execute(url, sql):
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def send(bootstrap, topic, value, *, within_ms=60_000):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", request_timeout_ms=within_ms
    )
    await producer.start()
    try:
        return await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


def test_a_disk_that_a_killed_run_left_is_taken_away_and_a_living_ones_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(disks.tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "kith-disk-left"
    (left / "disk").mkdir(parents=True)
    (left / "lock").touch()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "left", str(left / "disk")], check=True)

    with small_disk(1) as living:
        cleared = not left.exists()
        with small_disk(1):
            stays = living.folder.is_mount()

    assert cleared
    assert stays
    assert not living.folder.exists()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_a_disk_that_is_being_made_is_not_taken_for_a_left_one(monkeypatch):
    chmod = Path.chmod

    def another_run_clears_first(path, mode):
        disks._clear()
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", another_run_clears_first)

    with small_disk(1) as disk:
        assert disk.folder.is_mount()


def test_a_full_disk_has_no_room_and_then_has_it_again():
    with small_disk(3) as disk:
        disk.fill()
        full = disk.free_bytes
        disk.free()
        again = disk.free_bytes

    assert full == 0
    assert again > 2_000_000
