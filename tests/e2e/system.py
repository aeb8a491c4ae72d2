"""The two services as an ops team would deploy them: API and worker in processes of their own."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import asyncpg
import httpx
from crm_stack.stack import Stack
from spans import Spans

from demo.running import Service, Services


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
            base_url=service.url, headers={"Authorization": f"Bearer {key}"}, timeout=10
        )

    async def database(self, service: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.stack.service_database(service))
