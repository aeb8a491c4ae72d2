import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from crm_stack import registry
from crm_stack.errors import StackError
from crm_stack.processes import ProcessId
from crm_stack.stack import Stack

OWNER = """
import json, pathlib, sys
from crm_stack.stack import Stack
stack = Stack(pathlib.Path(sys.argv[1]) if sys.argv[1:] else None, services=("contacts",)).up()
print(json.dumps({
    "folder": str(stack.folder),
    "servers": [s.process.pid for s in (stack.postgres, stack.kafka) if hasattr(s, "process")],
    "contacts": stack.service_database("contacts"),
}), flush=True)
sys.stdin.read()
"""


class Owner:
    """A process that brought a stack up and waits to be killed."""

    def __init__(self, *arguments, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.told = json.loads(self.process.stdout.readline())
        self.servers = [ProcessId.of(pid) for pid in self.told["servers"]]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def stranger():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.stdin.close()
    process.wait(10)


@pytest.fixture
def own_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def given(stack):
    return {
        "KITH_POSTGRES_URL": stack.postgres.admin_url,
        "KITH_KAFKA_BOOTSTRAP": stack.kafka.bootstrap,
    }


async def query(url, sql):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def entry(folder, **changes):
    fields = {
        "stack_id": "a1b2",
        "folder": folder,
        "postgres_folder": folder / "postgres",
        "temporary": True,
        "detached": False,
        "owner_pid": 1,
    }
    return registry.Entry(**{**fields, **changes})


def leave_behind(left):
    """What a killed owner leaves: its entry, and a lock file that nobody holds."""
    with registry.registered():
        registry.take_seat(left)._release()


def clear():
    with registry.registered():
        registry.clear()


def test_the_next_start_clears_what_a_killed_owner_left_and_nothing_else(stack, data):
    victim = Owner()
    victim.kill()
    left_running = [server.alive for server in victim.servers]

    with Stack(data, services=(), environment=given(stack)):
        cleared = [server.alive for server in victim.servers]

    assert left_running == [True, True]
    assert cleared == [False, False]
    assert not Path(victim.told["folder"]).exists()
    assert stack.postgres.running
    assert stack.kafka.running
    assert stack.folder.exists()


def test_a_given_folder_survives_its_owner_with_data_and_addresses(stack, data):
    kafka_only = {"KITH_KAFKA_BOOTSTRAP": stack.kafka.bootstrap}
    victim = Owner(data, **kafka_only)
    with pytest.raises(StackError, match=f"process {victim.process.pid}") as refused:
        Stack(data, environment=kafka_only).up()
    asyncio.run(query(victim.told["contacts"], "create table kept as select 7 as id"))
    victim.kill()

    with Stack(data, services=("contacts",), environment=kafka_only) as again:
        kept = asyncio.run(query(victim.told["contacts"], "select id from kept"))
        address = again.service_database("contacts")
        old_servers = [server.alive for server in victim.servers]

    assert "\n" not in str(refused.value)
    assert kept == 7
    assert address == victim.told["contacts"]
    assert old_servers == [False]
    assert (data / "stack.json").stat().st_mode & 0o777 == 0o600


def test_a_stranger_who_was_given_a_dead_servers_pid_is_left_alone(
    own_registry, stranger, tmp_path
):
    leave_behind(entry(tmp_path, servers={"postgres": ProcessId(stranger.pid, "another birth")}))

    clear()

    assert stranger.poll() is None
    assert registry.entry_for(tmp_path) is None


def test_a_server_of_a_dead_owner_is_ended(own_registry, stranger, tmp_path):
    leave_behind(entry(tmp_path, servers={"kafka": ProcessId.of(stranger.pid)}))

    clear()

    assert stranger.wait(10) == -signal.SIGKILL


def test_a_server_of_a_living_owner_is_left_alone(own_registry, stranger, tmp_path):
    with registry.registered():
        seat = registry.take_seat(
            entry(tmp_path, servers={"kafka": ProcessId.of(stranger.pid)}),
        )

    clear()

    assert stranger.poll() is None
    assert registry.entry_for(tmp_path) == seat.entry
    seat.leave()


def test_a_detached_server_is_left_alone(own_registry, stranger, tmp_path):
    left = entry(tmp_path, detached=True, servers={"kafka": ProcessId.of(stranger.pid)})
    leave_behind(left)

    clear()

    assert stranger.poll() is None
    assert registry.entry_for(tmp_path) == left


@pytest.mark.parametrize(
    ("name", "stack_id", "goes"),
    [("kith-stack-x", "a1b2", True), ("kith-stack-x", "other", False), ("mine", "a1b2", False)],
)
def test_only_a_temporary_folder_that_was_made_for_the_stack_is_removed(
    own_registry, tmp_path, name, stack_id, goes
):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "stack.json").write_text(json.dumps({"stack_id": stack_id}))
    leave_behind(entry(folder))

    clear()

    assert folder.exists() is not goes


def test_an_entry_of_another_release_is_left_alone(own_registry):
    leave_behind(entry(registry._folder()))
    unreadable = registry._folder() / "a1b2.json"
    unreadable.write_text('{"version": 99}')

    clear()

    assert unreadable.exists()


def test_a_pid_alone_is_no_process():
    me = ProcessId.of(os.getpid())

    assert me.alive
    assert not ProcessId(me.pid, "another birth").alive
    assert ProcessId.of(2**22 + 1) is None
