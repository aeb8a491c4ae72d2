"""PostgreSQL 18 from a wheel's own binaries, without root and without the wheel's wrapper."""

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import asyncpg

from crm_stack.postgres_programs import binaries, owned_folder, run_program, server_user
from crm_stack.processes import ProcessId
from crm_stack.server import Launch, Server, minimal_environment

ADMIN = "postgres"
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
    """The server with its files in `data` on 127.0.0.1:`port`, superuser `postgres`."""

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
        name: str = "postgres",
    ) -> None:
        """`settings` are laid over those of every stack."""
        super().__init__(folder, name=name, process=process, started=started)
        self.port = port
        self._password = password
        self._settings = postgres_settings(settings)

    @property
    def admin_url(self) -> str:
        return f"postgresql://{ADMIN}:{self._password}@127.0.0.1:{self.port}/{ADMIN}"

    def ports(self) -> list[int]:
        return [self.port]

    def prepare(self) -> Launch:
        owned_folder(self.folder)
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        # ours is dead: a pid in it is a stranger
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        user = server_user()
        return Launch(
            [str(binaries() / "postgres"), "-D", str(self.data), f"--port={self.port}", *settings],
            minimal_environment(HOME=str(self.folder)),
            None if user is None else user.pw_uid,
            None if user is None else user.pw_gid,
        )

    def run(self, program: str, *arguments: str, within_seconds: float) -> None:
        """Run one of PostgreSQL's programs beside this server, with its superuser's password.

        Raises:
            StackError: it failed; with what it said.
        """
        run_program(
            program,
            *arguments,
            folder=self.folder,
            within_seconds=within_seconds,
            password=self._password,
        )

    async def answers(self) -> bool:
        return await postgres_answers(self.admin_url)

    def _initialize(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # an initdb that was killed half way
        owned_folder(self.data)
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        user = server_user()
        if user is not None:
            os.chown(password_file, user.pw_uid, user.pw_gid)
        try:
            run_program(
                "initdb",
                f"--pgdata={self.data}",
                f"--username={ADMIN}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",  # one order of text on every machine
                "--no-instructions",
                folder=self.folder,
                within_seconds=_INITDB_SECONDS,
            )
        finally:
            password_file.unlink()


def postgres_settings(more: Mapping[str, str]) -> dict[str, str]:
    """Those of every stack, with `more` laid over them."""
    return {**_SETTINGS, **more}


async def postgres_answers(admin_url: str) -> bool:
    """Whether a client's first statement is answered."""
    try:
        connection = await asyncpg.connect(admin_url, timeout=_CONNECT_SECONDS)
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
