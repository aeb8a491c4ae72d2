"""One address behind which PostgreSQL servers are exchanged, as restores and failovers do."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from crm_stack import restoring
from crm_stack.databases import create_database
from crm_stack.postgres import Postgres
from crm_stack.processes import run_apart
from crm_stack.server import free_port
from crm_store import migrations

DATABASE = "probe"


@dataclass(frozen=True)
class Prepared:
    """The files of a cluster with an empty log: sites begin with copies, which takes less."""

    data: Path
    password: str


@contextmanager
def prepared() -> Iterator[Prepared]:
    folder, password = _new_folder(), secrets.token_hex(8)
    server = _cluster(folder, password)
    try:
        server.start()
        run_apart(migrations.install(_database(server, password)))
        server.stop()
        yield Prepared(server.data, password)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


class Site:
    """`server` answers at `url`; backups, standbys and new clusters take its place there."""

    def __init__(self, begins: Prepared) -> None:
        self._folder = _new_folder()
        self._begins = begins
        self._made: list[Postgres] = []
        self.server = self._cluster("server")

    def __enter__(self) -> Self:
        restoring.put_back(self.server, self._begins.data)
        self.url = self._database()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._made:
            server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def backup(self) -> Path:
        """A copy of the running server's data as they are now."""
        return restoring.base_backup(self.server, secrets.token_hex(4))

    def crash(self) -> None:
        """The server ends at once, and is started again on its own data."""
        self.server.kill()
        self.server.start()

    def put_back(self, data: Path) -> None:
        """The server ends at once, and is started on these data."""
        self.server.kill()
        restoring.put_back(self.server, data)

    def standby(self) -> Postgres:
        """A standby of the running server."""
        standby = self._cluster("standby")
        restoring.follow(standby, self.server)
        return standby

    def caught_up(self, standby: Postgres) -> None:
        """Wait until the standby has replayed everything that is written now."""
        restoring.wait_level(standby, self.server)

    def fail_over(self, standby: Postgres) -> None:
        """The server ends at once, and the standby is promoted in its place."""
        self.server.kill()
        standby.stop()
        restoring.put_back(self.server, standby.data)
        restoring.promote(self.server)

    def renew(self) -> None:
        """A new cluster with an empty database takes the server's place."""
        self.server.kill()
        restoring.renew(self.server)
        self._database()

    def dump(self) -> Path:
        return restoring.dump(self.server, self.url)

    def load(self, dump: Path) -> None:
        restoring.load(self.server, self.url, dump)

    def _database(self) -> str:
        return _database(self.server, self._begins.password)

    def _cluster(self, name: str) -> Postgres:
        server = _cluster(self._folder / name, self._begins.password)
        self._made.append(server)
        return server


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kith-restore-"))
    folder.chmod(0o711)  # PostgreSQL's user passes through
    return folder


def _database(server: Postgres, password: str) -> str:
    return run_apart(create_database(server.admin_url, name=DATABASE, password=password))


def _cluster(folder: Path, password: str) -> Postgres:
    return Postgres(
        folder,
        port=free_port(),
        password=password,
        process=None,
        started=lambda _name, _process: None,
        settings={"fsync": "off"},  # servers end here, and no machine does
    )
