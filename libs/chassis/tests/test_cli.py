from __future__ import annotations

import base64
import logging

import pytest
import structlog
from probe_service.__main__ import commands
from typer.testing import CliRunner

KEK = base64.b64encode(bytes(range(32))).decode()
NOWHERE = "postgresql://probe@127.0.0.1:1/probe"


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.contextvars.clear_contextvars()


def command(*arguments: str, url: str = NOWHERE, **settings: str):
    environment = {
        "PROBE_DATABASE_URL": url,
        "PROBE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "PROBE_HTTP_PORT": "8080",
        "PROBE_KEKS": f"test:{KEK}",
        **settings,
    }
    return CliRunner().invoke(commands, arguments, env=environment, catch_exceptions=False)


@pytest.mark.parametrize("role", [["run"], ["api"], ["worker"], ["migrate"], ["api-keys", "list"]])
def test_unsafe_settings_end_every_command_in_a_line_each(role):
    done = command(*role, PROBE_KEKS="test:aaaa", PROBE_HTTP_PORT="0")

    assert done.exit_code == 2
    assert sorted(line.split()[0] for line in done.stderr.splitlines()) == [
        "PROBE_HTTP_PORT",
        "PROBE_KEKS",
    ]
    assert "aaaa" not in done.output


def test_a_database_address_that_cannot_be_read_ends_in_a_line_by_name():
    done = command("api-keys", "list", url="postgresql://u@127.0.0.1:notaport/db")

    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("PROBE_DATABASE_URL ")


def test_keys_are_made_listed_and_revoked_from_the_command_line(database):
    assert command("migrate", url=database).exit_code == 0
    key = command("api-keys", "create", "reader", "--scope", "things:read", url=database).stdout
    prefix = key.split("_")[1]

    listed = command("api-keys", "list", url=database).stdout
    revoked = command("api-keys", "revoke", prefix, url=database)
    again = command("api-keys", "revoke", prefix, url=database)
    after = command("api-keys", "list", url=database).stdout

    assert listed.split("\t")[:4] == [prefix, "live", "reader", "things:read"]
    assert key.strip() not in listed
    assert (revoked.exit_code, again.exit_code) == (0, 1)
    assert prefix in again.stderr
    assert after.split("\t")[1] == "revoked"


@pytest.mark.parametrize("scope", ["All Of It", "things", "things:"])
def test_a_key_with_a_scope_that_is_none_is_refused_and_not_shown(database, scope):
    command("migrate", url=database)

    done = command("api-keys", "create", "reader", "--scope", scope, url=database)

    assert done.exit_code == 2
    assert "kith_" not in done.output


@pytest.mark.connected
def test_a_command_says_in_a_line_that_the_database_is_away():
    done = command("api-keys", "list")

    assert done.exit_code == 1
    assert done.stderr.startswith("the database is away: ConnectionRefusedError")
    assert len(done.stderr.splitlines()) == 1


def test_what_waits_is_listed_and_asked_for_from_the_command_line(database):
    assert command("migrate", url=database).exit_code == 0

    listed = [command(what, "list", url=database) for what in ("parked", "quarantine")]
    unnamed = command("parked", "retry", "sums", url=database)
    nothing = command("parked", "retry", "sums", "--all", url=database)
    stranger = command("quarantine", "discard", "probe.things/0/1", url=database)

    assert [(one.exit_code, one.stdout) for one in listed] == [(0, ""), (0, "")]
    assert (unnamed.exit_code, unnamed.stderr) == (2, "name a key, or say --all\n")
    assert (nothing.exit_code, nothing.stderr) == (1, "nothing of that name is parked\n")
    assert (stranger.exit_code, stranger.stderr) == (
        1,
        "nothing is kept aside under probe.things/0/1\n",
    )
