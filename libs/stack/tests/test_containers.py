"""Containers in place of processes, where they are asked for and Docker answers."""

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from crm_stack import containers
from crm_stack.errors import StackError
from crm_stack.stack import Stack

ASKED = {"KITH_STACK": "containers"}


@pytest.mark.enable_socket
def test_containers_without_an_engine_are_refused_in_one_line_and_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setattr(containers, "until_it_answers", lambda *_, **__: pytest.fail("waits"))

    with pytest.raises(StackError, match="no Docker engine answers") as refused:
        Stack(environment=ASKED).up()

    assert "\n" not in str(refused.value)


def test_a_stack_of_neither_kind_is_refused():
    with pytest.raises(StackError, match="KITH_STACK is 'podman': it may be native or containers"):
        Stack(environment={"KITH_STACK": "podman"}).up()


def test_nobody_asks_docker_where_containers_are_not_asked_for(monkeypatch):
    monkeypatch.setattr(containers, "_docker_answers", lambda: pytest.fail("asked"))

    assert not containers.are_wanted({})
    assert not containers.are_wanted({"KITH_STACK": "native"})


@pytest.mark.connected
@pytest.mark.skipif(not containers._docker_answers(), reason="no Docker engine answers here")
async def test_servers_in_containers_are_killed_frozen_and_come_back_with_their_data():
    with Stack(services=("contacts",), environment=ASKED) as stack:
        url = stack.service_database("contacts")
        connection = await asyncpg.connect(url)
        await connection.execute("create table kept as select 7 as id")
        await connection.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("kept", 1, 1)])
        await admin.close()

        stack.postgres.kill()
        stack.kafka.pause()
        states = (stack.postgres.running, stack.kafka.paused)
        stack.restore()
        stack.kafka.restart()

        connection = await asyncpg.connect(url)
        kept = await connection.fetchval("select id from kept")
        await connection.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
        await admin.start()
        topics = await admin.list_topics()
        await admin.close()
    assert states == (False, True)
    assert kept == 7
    assert "kept" in topics
