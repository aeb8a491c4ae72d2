"""Makes the processes of services, each behind a proxy of its own before PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crm_stack.server import free_port

from demo.running import Service, Services
from tests.fault.process import Process
from tests.fault.proxy.postgres import PostgresProxy

if TYPE_CHECKING:
    from crm_stack.stack import Stack

COMMAND_SECONDS: Final = 150.0
NOTHING_MORE: Final[Mapping[str, str]] = {}
SERVICES: Final = ("contacts", "analytics", "sales")
PIPELINES: Final = Path(__file__).with_name("pipelines.json")


@dataclass(frozen=True, slots=True)
class Maker:
    """What processes are made of: `templates` have each service's settings."""

    stack: Stack
    templates: Mapping[str, Service]
    note: Callable[[str], None]

    @classmethod
    async def on(
        cls, stack: Stack, folder: Path, ports: Sequence[int], note: Callable[[str], None]
    ) -> Maker:
        """All services, with Kafka at these ports of proxies, one per broker.

        Those with workers of their own are migrated; who runs in one process does that first.
        """
        prepared = Services.on(stack, folder)
        services = [prepared.contacts, prepared.analytics, _sales(stack, prepared.contacts)]
        bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports)
        templates = {}
        for service in services:
            prefix = service.name.upper()
            environment = {
                **service.environment,
                f"{prefix}_KAFKA_BOOTSTRAP": bootstrap,
                f"{prefix}_KAFKA_REPLICATION_FACTOR": str(len(ports)),
                f"{prefix}_KAFKA_MIN_INSYNC": "2",
            }
            templates[service.name] = replace(service, environment=environment)
        maker = cls(stack, templates, note)
        for service in (prepared.contacts, prepared.analytics):
            await maker.command(service.name, "migrate")
        return maker

    async def make(
        self,
        name: str,
        service: str,
        role: str,
        instance: str,
        more: Mapping[str, str] = NOTHING_MORE,
    ) -> Process:
        """A process that is not started; `more` are settings of its own."""
        template = self.templates[service].beside(role)
        prefix = service.upper()
        port = int(self.stack.postgres.admin_url.rpartition("/")[0].rpartition(":")[2])
        proxy = PostgresProxy(free_port(), port, name=name, note=self.note)
        await proxy.start()
        url = template.environment[f"{prefix}_DATABASE_URL"].replace(f":{port}/", f":{proxy.port}/")
        environment = {
            **template.environment,
            f"{prefix}_DATABASE_URL": url,
            f"{prefix}_INSTANCE": instance,
            **more,
        }
        log = template.log.with_name(f"{name.replace(' ', '-')}.log")
        return Process(name, replace(template, environment=environment, log=log), proxy, self.note)

    async def command(self, service: str, *arguments: str) -> str:
        """Run a service's own command, as an operator would; what it printed."""
        command = self.templates[service].command
        return await asyncio.to_thread(command, *arguments, within_s=COMMAND_SECONDS)


def _sales(stack: Stack, contacts: Service) -> Service:
    """Sales with the keys of contacts, and pipelines of its own."""
    port = free_port()
    environment = {
        name.replace("CONTACTS_", "SALES_", 1): value
        for name, value in contacts.environment.items()
    } | {
        "SALES_DATABASE_URL": stack.service_database("sales"),
        "SALES_HTTP_PORT": str(port),
        "SALES_PIPELINES": str(PIPELINES),
    }
    return Service("sales", environment, port, contacts.log.with_name("sales.log"))
