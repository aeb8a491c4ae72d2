"""One address behind which PostgreSQL servers are exchanged, as restores and failovers do."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import asyncpg
from crm_stack.databases import create_database
from crm_stack.postgres import Postgres, _binaries, _unprivileged
from crm_stack.processes import run_apart
from crm_stack.server import free_port, minimal_environment

ROLE = "probe"


class Site:
    """`server` answers at `url`; backups, standbys and new clusters take its place there."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kith-restore-"))
        self.folder.chmod(0o711)
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._made: list[Postgres] = []
        self.server = self.cluster("first", self.port)
        self.url = ""

    def __enter__(self) -> Self:
        self.server.start()
        self.url = run_apart(
            create_database(self.server.admin_url, name=ROLE, password=self.password)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._made:
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cluster(self, name: str, port: int) -> Postgres:
        """A server in a folder of its own; not started."""
        server = Postgres(
            self.folder / name,
            port=port,
            password=self.password,
            process=None,
            started=lambda _name, _process: None,
        )
        self._made.append(server)
        return server

    def backup(self, name: str) -> Postgres:
        """A copy of the running server as it is now, to be started at its address."""
        copy = self.cluster(name, self.port)
        self._copy(copy)
        return copy

    def standby(self, name: str) -> Postgres:
        """A standby of the running server, started beside it."""
        copy = self.cluster(name, free_port())
        self._copy(copy, "--write-recovery-conf")
        copy.start()
        return copy

    def dump(self) -> bytes:
        """The database as pg_dump writes it."""
        return self._run("pg_dump", "--format=custom", f"--dbname={self._admin(ROLE)}")

    def load(self, dump: bytes) -> None:
        """Fill the empty database of the running server."""
        self._run("pg_restore", "--exit-on-error", f"--dbname={self._admin(ROLE)}", put=dump)

    def exchange(self, by: Postgres) -> None:
        """End the server, as a machine ends, and start the other one at its address."""
        self.server.kill()
        by.stop()
        by._port = self.port
        self.server = by
        by.start()

    def fresh(self, name: str) -> None:
        """A new cluster with an empty database in the server's place."""
        self.exchange(self.cluster(name, self.port))
        run_apart(create_database(self.server.admin_url, name=ROLE, password=self.password))

    async def promote(self, standby: Postgres) -> None:
        """Make the standby the server; it is told no more of what the old one writes."""
        self.exchange(standby)
        await self.admin("select pg_promote()")

    async def admin(self, sql: str, server: Postgres | None = None) -> object:
        connection = await asyncpg.connect((server or self.server).admin_url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    async def caught_up(self, standby: Postgres) -> None:
        """Wait until the standby has replayed everything that is written now."""
        at = await self.admin("select pg_current_wal_lsn()::text")
        while not await self.admin(f"select pg_last_wal_replay_lsn() >= '{at}'::pg_lsn", standby):
            pass

    def _admin(self, database: str) -> str:
        return urlsplit(self.server.admin_url)._replace(path=f"/{database}").geturl()

    def _copy(self, into: Postgres, *more: str) -> None:
        into.folder.mkdir()
        user = _user()
        if user is not None:
            os.chown(into.folder, user.pw_uid, user.pw_gid)
        self._run(
            "pg_basebackup",
            f"--dbname={self.server.admin_url}",
            f"--pgdata={into.folder / 'data'}",
            "--checkpoint=fast",
            "--wal-method=stream",
            *more,
        )

    def _run(self, program: str, *arguments: str, put: bytes | None = None) -> bytes:
        user = _user()
        done = subprocess.run(
            [_binaries() / program, *arguments],
            input=put,
            capture_output=True,
            check=False,
            timeout=60,
            cwd=self.folder,
            env=minimal_environment(HOME=str(self.folder)),
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def _user() -> pwd.struct_passwd | None:
    return _unprivileged() if os.geteuid() == 0 else None
