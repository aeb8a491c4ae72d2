"""One address behind which PostgreSQL servers are exchanged, as restores and failovers do."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from crm_stack import restoring
from crm_stack.databases import create_database
from crm_stack.postgres import Postgres
from crm_stack.processes import run_apart
from crm_stack.server import free_port

DATABASE = "probe"


class Site:
    """`server` answers at `url`; backups, standbys and new clusters take its place there."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kith-restore-"))
        self._folder.chmod(0o711)  # PostgreSQL's user passes through
        self._password = secrets.token_hex(8)
        self._made: list[Postgres] = []
        self.server = self._cluster("server")

    def __enter__(self) -> Self:
        self.server.start()
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
        making = create_database(self.server.admin_url, name=DATABASE, password=self._password)
        return run_apart(making)

    def _cluster(self, name: str) -> Postgres:
        server = Postgres(
            self._folder / name,
            port=free_port(),
            password=self._password,
            process=None,
            started=lambda _name, _process: None,
        )
        self._made.append(server)
        return server
