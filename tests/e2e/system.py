"""The two services as an ops team would deploy them: API and worker in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self, TypeVar

import asyncpg
import httpx
import pytest
from crm_chassis.apikeys import keep_key, new_api_key
from crm_stack.processes import run_apart
from crm_stack.stack import Stack
from spans import Spans

from demo.running import Service, Services

T = TypeVar("T")
SOON_SECONDS: Final = 90.0
"""Longer than a message stays claimed: a worker may be killed while it sends."""


def soon(ask: Callable[[], T | None]) -> T:
    """What `ask` finds, as soon as it finds something."""
    deadline = time.monotonic() + SOON_SECONDS
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.05)  # noqa: TID251  # another process' read model sets no event here
    pytest.fail("not found in time")


def fresh(answer: httpx.Response) -> httpx.Response | None:
    """An answer that shows what was asked to be shown; else it says that it does not."""
    assert answer.headers.get("Stale") in {None, "true"}
    return answer if "Stale" not in answer.headers else None


@dataclass
class System:
    """`contacts` and `analytics` answer and work in four processes on servers of their own."""

    stack: Stack
    spans: Spans
    contacts: Service
    contacts_worker: Service
    analytics: Service
    analytics_worker: Service
    write_keys: dict[str, str] = field(default_factory=dict)

    @classmethod
    def on(cls, stack: Stack, folder: Path, spans: Spans) -> Self:
        prepared = Services.on(stack, folder)
        contacts, analytics = prepared.contacts, prepared.analytics
        for service in (contacts, analytics):
            service.environment.update(spans.environment)
        return cls(
            stack,
            spans,
            replace(contacts, role="api"),
            contacts.beside("worker"),
            replace(analytics, role="api"),
            analytics.beside("worker"),
        )

    @property
    def processes(self) -> tuple[Service, ...]:
        return (self.contacts, self.contacts_worker, self.analytics, self.analytics_worker)

    def start(self, cleanup: ExitStack) -> Self:
        for service in (self.contacts, self.analytics):
            service.command("migrate")
        for service in self.processes:
            cleanup.callback(service.stop)
            service.start()
        for service in self.processes:
            service.wait_ready()
        return self

    def write_key(self, name: str = "shop") -> str:
        """The source's own, made as an operator makes it."""
        if name not in self.write_keys:
            told = self.contacts.command("write-keys", "create", name)
            self.write_keys[name] = told.splitlines()[-1]
        return self.write_keys[name]

    def key(self, service: Service, *scopes: str) -> str:
        """A key for these scopes, kept without the service's command: each is a process."""
        key, database = new_api_key(), service.environment[f"{service.name.upper()}_DATABASE_URL"]

        async def keep() -> None:
            async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
                await keep_key(pool, key, name="test", scopes=scopes)

        run_apart(keep())
        return key

    def caller(self, service: Service, *scopes: str) -> httpx.Client:
        """A client with a key of its own for these scopes."""
        headers = {"Authorization": f"Bearer {self.key(service, *scopes)}"}
        return httpx.Client(base_url=service.url, headers=headers, timeout=30)

    async def database(self, service: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.stack.service_database(service))
