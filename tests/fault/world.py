"""The system under faults: real servers, every connection behind a proxy, five processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import psutil
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from crm_events.topics import HEARD_BY
from crm_stack.kafka import Kafka
from crm_stack.kafka_cluster import KafkaCluster
from crm_stack.postgres import Postgres
from crm_stack.server import free_port
from crm_stack.stack import Stack
from crm_store.clock import utc_now

from tests.fault.load import Load
from tests.fault.making import NOTHING_MORE, Maker
from tests.fault.noted import NotedServer
from tests.fault.process import EXIT_SECONDS, Process
from tests.fault.proxy.kafka import KafkaProxy
from tests.fault.proxy.tcp import Connection
from tests.fault.timeline import Timeline

NODES: Final = 3
MEMBERS: Final = ("a", "b", "c")
HISTORY: Final = timedelta(days=80)
POLL_SECONDS: Final = 0.1
TAKEN_OVER_SECONDS: Final = 30.0
AWAY: Final = (
    OSError,
    httpx.HTTPError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a session that ended in the middle of a statement
)


@dataclass
class Notes:
    """What faults measure or add besides."""

    pauses_seconds: list[float] = field(default_factory=list)  # each at one rolling SIGTERM
    grown_bytes: dict[str, int] = field(default_factory=dict)  # the most, by what stood and who
    quarantined: int = 0  # records that a fault sent and that must be kept aside
    judged_to: dict[TopicPartition, int] = field(default_factory=dict)  # offsets already read
    unknown_types: list[str] = field(default_factory=list)  # which no projection here names
    made_anew: set[str] = field(default_factory=set)  # topics that begin at offset 0 again
    sold_to: set[UUID] = field(default_factory=set)  # customers of whom no load tells


@dataclass
class World:
    """What faults act on.

    `collector` is contacts' API, `relay` contacts' worker (it hears and folds as well), `members`
    are analytics' workers: three inboxes of one group, one of which folds. Each has its own
    proxy before PostgreSQL (`process.postgres`); the brokers have one each (`kafka_proxies`), and
    `connections_of(process)` chooses a process' connections there. The harness itself goes
    straight to the servers.
    """

    stack: Stack
    maker: Maker
    timeline: Timeline
    load: Load
    collector: Process
    relay: Process
    members: list[Process]
    kafka_proxies: list[KafkaProxy]
    long_outage_seconds: float
    notes: Notes = field(default_factory=Notes)
    _extra: list[Process] = field(default_factory=list)
    _urls: dict[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def up(
        cls, folder: Path, *, seed: int, long_outage_seconds: float
    ) -> AsyncGenerator[World]:
        """Servers, proxies and processes, all ready; everything is ended at the end."""
        ports = [free_port() for _ in range(NODES)]
        stack = Stack(kafka_nodes=NODES, kafka_proxy_ports=ports)
        await asyncio.to_thread(stack.up)
        try:
            world = await cls._on(stack, folder, ports, seed, long_outage_seconds)
            try:
                await world._start()
                yield world
            finally:
                await world._end()
        finally:
            await asyncio.to_thread(stack.down)

    @classmethod
    async def _on(
        cls,
        stack: Stack,
        folder: Path,
        ports: list[int],
        seed: int,
        long_outage_seconds: float,
    ) -> World:
        timeline = Timeline()
        nodes = _cluster(stack).nodes
        proxies = [
            KafkaProxy(port, node.behind_proxy, name=f"broker {n}", note=timeline.note)
            for n, (port, node) in enumerate(zip(ports, nodes, strict=True), start=1)
        ]
        for proxy in proxies:
            await proxy.start()
        maker = await Maker.on(stack, folder, ports, timeline.note)
        key = await maker.command("contacts", "write-keys", "create", "shop")
        began = utc_now() - HISTORY
        load = Load(seed, began.replace(microsecond=0), "", key.splitlines()[-1])
        collector = await maker.make("collector", "contacts", "api", "1")
        load.collector = collector.service.url
        return cls(
            stack=stack,
            maker=maker,
            timeline=timeline,
            load=load,
            collector=collector,
            relay=await maker.make("relay", "contacts", "worker", "1"),
            members=[await maker.make(f"member {n}", "analytics", "worker", n) for n in MEMBERS],
            kafka_proxies=proxies,
            long_outage_seconds=long_outage_seconds,
        )

    @property
    def processes(self) -> list[Process]:
        return [self.collector, self.relay, *self.members, *self._extra]

    @property
    def workers(self) -> list[Process]:
        """Those that hear and fold."""
        return [one for one in self.processes if one.service.role != "api" and one.alive]

    @property
    def bootstrap(self) -> str:
        """The brokers themselves, for the harness."""
        return self.stack.kafka.bootstrap

    @property
    def kafka(self) -> NotedServer[KafkaCluster]:
        return NotedServer("every broker", _cluster(self.stack), self.timeline.note)

    @property
    def brokers(self) -> list[NotedServer[Kafka]]:
        note = self.timeline.note
        return [NotedServer(f"broker {n.node_id}", n, note) for n in _cluster(self.stack).nodes]

    @property
    def postgres(self) -> NotedServer[Postgres]:
        postgres = self.stack.postgres
        assert isinstance(postgres, Postgres), "faults need a PostgreSQL of their own"
        return NotedServer("postgresql", postgres, self.timeline.note)

    @asynccontextmanager
    async def standby(
        self,
        service: str,
        role: str,
        instance: str,
        *,
        ready: bool = True,
        more: Mapping[str, str] = NOTHING_MORE,
    ) -> AsyncGenerator[Process]:
        """One more process of a service while the body runs; `ready` when it is entered.

        `more` are settings of its own.
        """
        name = f"{service} {role} {instance}"
        process = await self.maker.make(name, service, role, instance, more)
        self._extra.append(process)
        try:
            process.start_soon()
            if ready:
                await asyncio.to_thread(process.service.wait_ready)
            yield process
        finally:
            if process.alive:
                process.terminate()
                await process.ended()
            await process.postgres.stop()
            self._extra.remove(process)

    async def supervise(self) -> list[str]:
        """Start what has ended, as whatever keeps processes alive would; all are ready then.

        Answers the names of those that nobody had ended.
        """
        by_themselves = [one.name for one in self.processes if one.ended_by_itself]
        for process in self.processes:
            if not process.alive:
                await process.start()
        return by_themselves

    async def command(self, service: str, *arguments: str) -> str:
        """Run a service's own command, as an operator would; what it printed."""
        self.timeline.note(f"{service} {' '.join(arguments)}")
        try:
            return await self.maker.command(service, *arguments)
        finally:
            self.timeline.note(f"{service} {arguments[0]} ended")

    def connections_of(self, process: Process) -> Callable[[Connection], bool]:
        """Chooses a process' connections at a proxy, those that come later as well."""

        def is_its(connection: Connection) -> bool:
            try:
                mine = psutil.Process(process.pid).net_connections("tcp4")
            except psutil.NoSuchProcess:
                return False
            return connection.client_port in {one.laddr.port for one in mine}

        return is_its

    def whose(self, connection: Connection) -> Process:
        """The process whose connection is held at a proxy."""
        return next(each for each in self.processes if self.connections_of(each)(connection))

    @asynccontextmanager
    async def database(self, service: str) -> AsyncGenerator[asyncpg.Connection]:
        """A service's database, not through a proxy."""
        url = self._urls.get(service)
        if url is None:
            url = self._urls[service] = self.stack.service_database(service)
        connection = await asyncpg.connect(url, timeout=10)
        try:
            yield connection
        except BaseException:
            connection.terminate()  # it may be in the middle of a statement
            raise
        await connection.close()

    @asynccontextmanager
    async def admin(self) -> AsyncGenerator[AIOKafkaAdminClient]:
        """A client that looks after Kafka's topics, past every proxy."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def holder(self, service: str) -> Process:
        """The process that holds the service's lease: it relays and folds."""
        candidates = [each for each in self.processes if each.service.name == service]
        async with asyncio.timeout(EXIT_SECONDS):
            while True:
                async with self.database(service) as connection:
                    owner = await connection.fetchval(
                        "select owner from lease where name = 'worker' and until > now()"
                    )
                for process in candidates:
                    instance = process.service.environment[f"{service.upper()}_INSTANCE"]
                    works = process.service.role == "worker" and process.alive
                    if works and str(owner or "").split(" ")[0] == instance:
                        return process
                await asyncio.sleep(POLL_SECONDS)

    async def taken_over(self, frozen: Process, who: str) -> None:
        """Wait until others do what a frozen relay, inbox or projection did."""
        service = frozen.service.name

        async def leads() -> bool:
            return await self.holder(service) is not frozen

        if who in ("relay", "projection"):
            await self.until(leads, within_seconds=TAKEN_OVER_SECONDS, what="another's lead")
        elif who == "inbox":
            heard, what = await self._heard_partitions(), "the partitions' others"
            others = [one for one in self.members if one is not frozen]

            async def has_its_partitions() -> bool:
                return sum([await one.partitions() for one in others]) == heard

            await self.until(has_its_partitions, within_seconds=TAKEN_OVER_SECONDS, what=what)

    async def _heard_partitions(self) -> int:
        """Of the topics that analytics hears, those that there are: sales makes its own."""
        async with self.admin() as admin:
            present = set(await admin.list_topics())
        return sum(one.partitions for one in HEARD_BY["analytics"] if one.name in present)

    async def until(
        self,
        condition: Callable[[], Any],
        *,
        within_seconds: float,
        what: str,
    ) -> None:
        """Wait until a condition holds; an AssertionError names `what` where it does not."""
        try:
            async with asyncio.timeout(within_seconds):
                while not await condition():
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {within_seconds} s") from None

    async def acknowledged(self, more: int, *, within_seconds: float = 30.0) -> None:
        """Wait until so many more messages were acknowledged: the load goes on."""
        wanted = self.load.count + more

        async def enough() -> bool:
            return self.load.count >= wanted

        await self.until(enough, within_seconds=within_seconds, what=f"{more} more messages")

    async def _start(self) -> None:
        for process in self.processes:
            process.start_soon()
        for process in self.processes:
            await asyncio.to_thread(process.service.wait_ready)

    async def _end(self) -> None:
        alive = [process for process in self.processes if process.alive]
        for process in alive:  # all of them before anything is awaited
            process.thaw()
            process.service.process.kill()
        for process in alive:
            await process.ended()
        for process in self.processes:
            await process.postgres.stop()
        for proxy in self.kafka_proxies:
            await proxy.stop()


def _cluster(stack: Stack) -> KafkaCluster:
    assert isinstance(stack.kafka, KafkaCluster), "faults need brokers of their own"
    return stack.kafka
