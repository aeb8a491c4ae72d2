"""A service that publishes, and whose database server is exchanged under it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from crm_events.topics import Topic
from crm_kafka.relay.relay import Relay
from crm_kafka.restore.recovering import Recovering
from crm_kafka.restore.settling import Settling
from crm_store import migrations
from crm_store.clock import utc_now
from crm_store.errors import NewEpochError, is_dependency_error
from crm_store.log import epochs
from exchanging import Site
from probe import Probe
from relaying import Heard, Leads, heard, send_all

MOST_CONNECTIONS = 5


@dataclass
class Publisher:
    """A service that publishes one topic, on a site of its own."""

    site: Site
    pool: asyncpg.Pool
    probe: Probe
    topic: Topic
    kafka: str
    ends: AsyncExitStack
    written: list[UUID] = field(default_factory=list)  # event ids, in the order of appending

    async def install(self) -> None:
        """The chassis' tables, in a database that has none."""
        await migrations.install(self.site.url)
        await self.reconnect()

    def relay(self, *, settled: Callable[..., Awaitable[bool]] | None = None) -> Relay:
        """A relay as another process would begin it; `settled` if it is asked something else."""
        settling = Settling(
            pool=self.pool, contract=self.probe.contract, service="probe", bootstrap=self.kafka
        )
        relay = Relay(
            pool=self.pool,
            contract=self.probe.contract,
            service="probe",
            bootstrap=self.kafka,
            replication_factor=1,
            min_insync=1,
            lease=Leads(),
            wake=asyncio.Event(),
            clock=utc_now,
            settled=settled or settling.settled,
        )
        self.ends.push_async_callback(relay.close)
        return relay

    def recovering(self, **more: Any) -> Recovering:
        return Recovering(
            pool=self.pool,
            contract=self.probe.contract,
            service="probe",
            bootstrap=self.kafka,
            replication_factor=1,
            min_insync=1,
            **more,
        )

    async def publish(self, *numbers: int) -> None:
        """Append a fact per number, each of a customer of its own, and send them."""
        await self.append(*numbers)
        relay = self.relay()
        await send_all(relay)

    async def put_back(self, data: Path) -> None:
        """The server is started on these data."""
        self.site.put_back(data)
        await self.reconnect()

    async def crash(self) -> None:
        """The server ends at once, and comes back."""
        self.site.crash()
        await self.reconnect()

    async def reconnect(self) -> None:
        """Use up the connections to the server that went."""
        for _ in range(MOST_CONNECTIONS + 1):
            try:
                await self.pool.fetchval("select 1")
            except Exception as error:
                if not is_dependency_error(error):
                    raise

    async def append(self, *numbers: int) -> None:
        facts = [self.probe.fact(UUID(int=number % 7), number) for number in numbers]
        try:
            await self.probe.log.append(facts=facts)
        except NewEpochError:
            await self.probe.log.append(facts=facts)
        self.written += [fact.event.event_id for fact in facts]

    async def rows(self) -> list[UUID]:
        """Own rows in log order."""
        rows = await self.pool.fetch(
            "select event_id from log where sequence is null order by epoch, xid, gp"
        )
        return [row["event_id"] for row in rows]

    async def in_kafka(self) -> list[Heard]:
        return await heard(self.kafka, self.topic)

    async def state(self) -> str:
        return await epochs.tell(self.pool)

    async def newest(self) -> epochs.Newest:
        return await epochs.newest(self.pool)


def numbers(records: Sequence[Heard]) -> dict[tuple[int, int], UUID]:
    """Event by partition and number; fails where one number stands for two events."""
    found: dict[tuple[int, int], UUID] = {}
    for one in records:
        assert found.setdefault((one.partition, one.sequence), one.event_id) == one.event_id
    return found
