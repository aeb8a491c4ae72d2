"""PostgreSQL, Kafka and Redis as one thing: brought up, used, hurt on purpose and taken down."""

import os
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from crm_stack import databases, registry
from crm_stack.addresses import Addresses, load, save
from crm_stack.containers import (
    Container,
    ContainerKafka,
    ContainerPostgres,
    ContainerRedis,
    are_wanted,
)
from crm_stack.errors import StackError
from crm_stack.given import (
    KAFKA_VARIABLE,
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    GivenKafka,
    GivenPostgres,
    GivenRedis,
)
from crm_stack.kafka import Kafka
from crm_stack.kafka_cluster import KafkaCluster, known_with_ports, native_kafka
from crm_stack.postgres import Postgres
from crm_stack.postgres_programs import reachable_folder
from crm_stack.processes import run_apart
from crm_stack.redis import Redis
from crm_stack.server import Server

SERVICES = ("contacts", "analytics")
NO_SETTINGS: Mapping[str, str] = {}


class Stack:
    """Real servers with their data in `data`, or in a temporary folder that goes with them.

    Addresses in KITH_POSTGRES_URL, KITH_KAFKA_BOOTSTRAP and KITH_REDIS_URL are used in place of
    own servers.
    Every method may be called inside an event loop; those that start or stop block it.
    """

    def __init__(  # noqa: PLR0913  # how many of what, each by name
        self,
        data: Path | None = None,
        *,
        services: tuple[str, ...] = SERVICES,
        environment: Mapping[str, str] = os.environ,
        kafka_nodes: int = 1,
        kafka_proxy_ports: Sequence[int] = (),
        postgres_settings: Mapping[str, str] = NO_SETTINGS,
        kafka_options: Sequence[str] = (),
    ) -> None:
        """`postgres_settings` and the JVM's `kafka_options` are laid over the stack's own.

        With `kafka_proxy_ports`, one per node, each node has a second listener that tells clients
        the port of a proxy: who bootstraps at the proxies stays behind them.
        """
        self._kafka_nodes = kafka_nodes
        self._proxy_ports = tuple(kafka_proxy_ports)
        self._postgres_settings = postgres_settings
        self._kafka_options = kafka_options
        self._data = data
        self._services = services
        self._given_postgres = environment.get(POSTGRES_VARIABLE)
        self._given_kafka = environment.get(KAFKA_VARIABLE)
        self._given_redis = environment.get(REDIS_VARIABLE)
        self._environment = environment
        self._in_containers = False
        self._attached = False
        self._seat: registry.Seat | None = None
        self._folder: Path | None = None
        self._addresses: Addresses | None = None
        self._postgres: Postgres | ContainerPostgres | GivenPostgres | None = None
        self._kafka: Kafka | KafkaCluster | ContainerKafka | GivenKafka | None = None
        self._redis: Redis | ContainerRedis | GivenRedis | None = None
        self._more_postgres: dict[str, Postgres] = {}

    @property
    def postgres(self) -> Postgres | ContainerPostgres | GivenPostgres:
        if self._postgres is None:
            raise StackError("the stack is not up")
        return self._postgres

    @property
    def kafka(self) -> Kafka | KafkaCluster | ContainerKafka | GivenKafka:
        if self._kafka is None:
            raise StackError("the stack is not up")
        return self._kafka

    @property
    def redis(self) -> Redis | ContainerRedis | GivenRedis:
        if self._redis is None:
            raise StackError("the stack is not up")
        return self._redis

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise StackError("the stack is not up")
        return self._folder

    @classmethod
    def running_in(cls, data: Path, *, services: tuple[str, ...] = SERVICES) -> "Stack":
        """The stack that another process has started in `data`.

        Raises:
            StackError: none has.
        """
        stack = cls(data, services=services)
        with registry.registered():
            registry.clear()
            entry = registry.entry_for(data.resolve())
        if entry is None:
            raise StackError(f"no stack runs in {data}")
        stack._join(entry)
        return stack

    def up(self, *, detached: bool = False) -> Self:
        """Start what does not run yet and make each service's database.

        Servers that a `detached` start left in the same folder are used, and left running.

        Raises:
            StackError: one line that says what is missing or in the way.
        """
        try:
            if self._seat is None:
                # a container has no folder of ours to keep its data in, and no second broker
                may_be = self._data is None and self._kafka_nodes == 1
                self._in_containers = may_be and are_wanted(self._environment)
                with registry.registered():
                    registry.clear()
                    self._enter()
            self._start()
        except BaseException as error:
            if not self._attached:
                self.down()
            if isinstance(error, OSError):
                raise StackError(f"the stack cannot be started: {error}") from error
            raise
        if detached and self._seat is not None:
            self._seat.detach()
        return self

    def down(self) -> None:
        """Stop the servers; a temporary folder goes, a given one keeps its data."""
        if self._postgres is None or self._kafka is None or self._redis is None:
            return
        if self._attached and self._seat is not None and not self._seat.entry.detached:
            raise StackError(_in_use(self._seat.entry))
        kafkas = self._kafka.nodes if isinstance(self._kafka, KafkaCluster) else (self._kafka,)
        every = (self._postgres, *kafkas, self._redis, *self._more_postgres.values())
        own = [server for server in every if isinstance(server, Server | Container)]
        temporary = self._seat is not None and self._seat.entry.temporary
        with ThreadPoolExecutor(len(own) or 1, thread_name_prefix="crm-stack") as pool:
            for done in [pool.submit(s.discard if temporary else s.stop) for s in own]:
                done.result()
        if self._seat is not None:
            if temporary:
                registry.remove_temporary(self._seat.entry)
            self._seat.leave()
        self._seat = self._folder = self._addresses = None
        self._postgres = self._kafka = self._redis = None
        self._more_postgres = {}

    def another_postgres(self, name: str) -> Postgres:
        """A second server, not started and with nothing in it, that knows the same superuser.

        It has a port of its own, may become the first one's standby (`restoring`), and goes down
        with the stack.
        """
        key = f"postgres-{name}"
        if key not in self._more_postgres:
            self._remember(self._known.with_port(key))
            self._more_postgres[key] = self._postgres_on(key, self._known.more_ports[key])
        return self._more_postgres[key]

    def restore(self) -> None:
        """Make all servers answer again after whatever a test did to them."""
        self.postgres.restore()
        self.kafka.restore()
        self.redis.restore()

    def service_database(self, service: str) -> str:
        """The URL of the service's own database, as its own role; made if it is missing."""
        if service not in self._known.passwords:
            passwords = {**self._known.passwords, service: secrets.token_hex(16)}
            self._remember(replace(self._known, passwords=passwords))
        password = self._known.passwords[service]
        making = databases.create_database(self.postgres.admin_url, name=service, password=password)
        return run_apart(making)

    def fresh_database(self) -> str:
        """The URL of a new empty database, as a new role that may connect nowhere else."""
        name = f"test_{secrets.token_hex(6)}"
        making = databases.create_database(
            self.postgres.admin_url, name=name, password=secrets.token_hex(16)
        )
        return run_apart(making)

    def copy_of(self, url: str) -> str:
        """The URL of a new database with all that is in a `fresh_database`, as the same role.

        Nobody may be connected to that one. It takes less than to make anew what is in it.
        """
        name = f"test_{secrets.token_hex(6)}"
        copying = databases.copy_database(
            self.postgres.admin_url, template=_database(url), name=name
        )
        run_apart(copying)
        return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))

    def drop_database(self, url: str) -> None:
        """Drop a `fresh_database` and its role, or a copy, whoever is connected to it."""
        run_apart(databases.drop_database(self.postgres.admin_url, name=_database(url)))

    def environment(self) -> dict[str, str]:
        """The addresses by the names under which services and other clients look for them."""
        bootstrap = self.kafka.bootstrap
        names = {
            "POSTGRES_ADMIN_URL": self.postgres.admin_url,
            "KAFKA_BOOTSTRAP": bootstrap,
            "REDIS_URL": self.redis.url,
        }
        for service in self._services:
            prefix = service.upper()
            names[f"{prefix}_DATABASE_URL"] = self.service_database(service)
            names[f"{prefix}_KAFKA_BOOTSTRAP"] = bootstrap
        return names

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._attached:
            self.down()

    def _start(self) -> None:
        self.kafka.install()
        servers = (self.postgres, self.kafka, self.redis)
        with ThreadPoolExecutor(len(servers), thread_name_prefix="crm-stack") as pool:
            for start in [pool.submit(server.restore) for server in servers]:
                start.result()
        if not isinstance(self.postgres, GivenPostgres):
            run_apart(databases.close_to_public(self.postgres.admin_url))
        for service in self._services:
            self.service_database(service)

    def _enter(self) -> None:
        """Take the folder, or join the detached stack that runs in it; inside `registered()`."""
        temporary = self._data is None
        folder = (
            registry.temporary_folder() if self._data is None else registry.given_folder(self._data)
        )
        entry = registry.entry_for(folder)
        if entry is not None and not entry.detached:
            raise StackError(_in_use(entry))
        if entry is not None:
            self._join(entry)
            return
        addresses = load(folder)
        entry = registry.Entry(
            stack_id=addresses.stack_id,
            folder=folder,
            postgres_folder=reachable_folder(folder, addresses.stack_id),
            temporary=temporary,
            detached=False,
            owner_pid=os.getpid(),
        )
        self._attached = False
        self._attend(registry.take_seat(entry), addresses)

    def _join(self, entry: registry.Entry) -> None:
        self._attached = True
        self._attend(registry.Seat(entry, None), load(entry.folder))

    def _attend(self, seat: registry.Seat, known: Addresses) -> None:
        entry = seat.entry
        self._seat, self._folder, self._addresses = seat, entry.folder, known
        if self._given_postgres:
            self._postgres = GivenPostgres(self._given_postgres)
        elif self._in_containers:
            self._postgres = ContainerPostgres(
                port=known.postgres_port,
                password=known.postgres_password,
                settings=self._postgres_settings,
            )
        else:
            self._postgres = self._postgres_on("postgres", known.postgres_port)
        if self._given_kafka:
            self._kafka = GivenKafka(self._given_kafka)
        elif self._in_containers:
            self._kafka = ContainerKafka(
                port=known.kafka_port,
                controller_port=known.kafka_controller_port,
                options=self._kafka_options,
            )
        else:
            known = known_with_ports(known, self._kafka_nodes, proxied=bool(self._proxy_ports))
            self._remember(known)
            self._kafka = native_kafka(
                seat,
                known,
                nodes=self._kafka_nodes,
                proxy_ports=self._proxy_ports,
                options=self._kafka_options,
            )

        self._redis = self._redis_of(seat)

    def _redis_of(self, seat: registry.Seat) -> Redis | ContainerRedis | GivenRedis:
        if self._given_redis:
            return GivenRedis(self._given_redis)
        self._remember(self._known.with_port("redis"))
        port = self._known.more_ports["redis"]
        if self._in_containers:
            return ContainerRedis(port=port)
        return Redis(
            seat.entry.folder / "redis",
            port=port,
            process=seat.entry.servers.get("redis"),
            started=seat.started,
        )

    def _postgres_on(self, name: str, port: int) -> Postgres:
        if self._seat is None:
            raise StackError("the stack is not up")
        entry = self._seat.entry
        first = name == "postgres"
        return Postgres(
            entry.postgres_folder if first else entry.postgres_folder / "more" / name,
            port=port,
            password=self._known.postgres_password,
            process=entry.servers.get(name),
            started=self._seat.started,
            settings=self._postgres_settings,
            name=name,
        )

    @property
    def _known(self) -> Addresses:
        if self._addresses is None:
            raise StackError("the stack is not up")
        return self._addresses

    def _remember(self, addresses: Addresses) -> None:
        self._addresses = addresses
        save(addresses, self.folder)


def _database(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _in_use(entry: registry.Entry) -> str:
    return f"the stack in {entry.folder} is run by process {entry.owner_pid}"
