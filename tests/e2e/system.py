"""The two services as an ops team would deploy them: API and worker in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self, TypeVar

import asyncpg
import httpx
import pytest
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
        return self.contacts.command("write-keys", "create", name).splitlines()[-1]

    def caller(self, service: Service, *scopes: str) -> httpx.Client:
        """A client with a key of its own for these scopes."""
        arguments = [argument for scope in scopes for argument in ("--scope", scope)]
        key = service.command("api-keys", "create", "test", *arguments).splitlines()[-1]
        return httpx.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        )

    async def database(self, service: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.stack.service_database(service))
