"""PostgreSQL, Kafka and Redis in containers, where KITH_STACK=containers asks for them."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from crm_stack.errors import StackError
from crm_stack.kafka import Seat, kafka_answers
from crm_stack.postgres import ADMIN, postgres_answers, postgres_settings
from crm_stack.processes import run_apart
from crm_stack.redis import redis_answers, redis_url
from crm_stack.server import START_SECONDS, STOP_SECONDS, until_it_answers

if TYPE_CHECKING:
    from testcontainers.core.container import (  # pyright: ignore[reportMissingTypeStubs]
        DockerContainer,
    )

VARIABLE = "KITH_STACK"
POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.1.0"
REDIS_IMAGE = "redis:8"
_ENGINE = "unix:///var/run/docker.sock"
_ASK_SECONDS = 1
_KAFKA_DATA = Path("/var/lib/kafka/data")


def are_wanted(environment: Mapping[str, str]) -> bool:
    """Whether containers are asked for.

    Raises:
        StackError: the variable says something else, or no Docker engine answers within a second.
    """
    wish = environment.get(VARIABLE, "native")
    if wish not in {"native", "containers"}:
        raise StackError(f"{VARIABLE} is {wish!r}: it may be native or containers")
    if wish == "native":
        return False
    if not _docker_answers():
        raise StackError(f"{VARIABLE}=containers, and no Docker engine answers")
    return True


class Container:
    """A server in a container on a port of 127.0.0.1, with the handles of one of our own.

    It is the same container, with its files, until it is discarded. `testcontainers` sees to
    it that it goes when this process dies.
    """

    def __init__(self, name: str, container: "DockerContainer") -> None:
        self.name = name
        self._container = container
        self._made = False

    async def answers(self) -> bool:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self._status() in {"running", "paused"}

    @property
    def paused(self) -> bool:
        return self._status() == "paused"

    def install(self) -> None:
        """Nothing: the image is pulled at the first start, if it is not here."""

    def start(self) -> None:
        """Start and wait until it answers; nothing happens if it runs.

        Raises:
            StackError: the engine refuses, or the server does not answer within START_SECONDS.
        """
        if self.running:
            return
        if self._made:
            self._order("start")
        else:
            self._make()
        answers = run_apart(until_it_answers(self.answers, while_=lambda: self.running))
        if not answers:
            raise StackError(f"{self.name} does not answer in its container in {START_SECONDS} s")

    def stop(self) -> None:
        """Ask it to end in order, and kill what is still there after STOP_SECONDS."""
        if self.running:
            self.resume()
            self._order("stop", timeout=int(STOP_SECONDS))

    def kill(self) -> None:
        if self.running:
            self._order("kill")

    def pause(self) -> None:
        if self._status() == "running":
            self._order("pause")

    def resume(self) -> None:
        if self.paused:
            self._order("unpause")

    def restart(self) -> None:
        self.stop()
        self.start()

    def restore(self) -> None:
        """Make it answer again after whatever was done to it."""
        self.resume()
        self.start()

    def discard(self) -> None:
        """Remove it with everything in it."""
        if self._made:
            self._ask(self._container.stop)
        self._made = False

    def _status(self) -> str:
        if not self._made:
            return "none"
        handle = self._container.get_wrapped_container()
        self._ask(handle.reload)
        return str(handle.status)

    def _make(self) -> None:
        try:
            self._ask(self._container.start)
        except StackError:
            self._ask(self._container.stop)  # what was made and would not start
            raise
        self._made = True

    def _order(self, what: str, **arguments: int) -> None:
        handle = self._container.get_wrapped_container()
        self._ask(lambda: getattr(handle, what)(**arguments))

    def _ask(self, what: Callable[[], object]) -> None:
        from docker.errors import DockerException  # noqa: PLC0415  # 0.2 s

        try:
            what()
        except (DockerException, OSError) as error:
            raise StackError(f"{self.name} in a container: {error!s:.300}") from error


class ContainerPostgres(Container):
    """PostgreSQL 18 with the settings of a native one, but for where its files lie."""

    def __init__(self, *, port: int, password: str, settings: Mapping[str, str]) -> None:
        own = {
            name: value
            for name, value in postgres_settings(settings).items()
            if name not in {"listen_addresses", "unix_socket_directories"}
        }
        command = ["postgres", *(f"--{name}={value}" for name, value in own.items())]
        container = _container(POSTGRES_IMAGE, {"5432/tcp": port}, command)
        container.with_envs(
            POSTGRES_PASSWORD=password,
            POSTGRES_INITDB_ARGS=(
                "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
            ),
        )
        super().__init__("postgres", container)
        self.admin_url = f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}/{ADMIN}"

    async def answers(self) -> bool:
        return await postgres_answers(self.admin_url)


class ContainerKafka(Container):
    """One broker and controller, as the native one; inside it listens on the port it tells."""

    def __init__(self, *, port: int, controller_port: int, options: Sequence[str]) -> None:
        container = _container(KAFKA_IMAGE, {f"{port}/tcp": port}, None)
        properties = dict(
            line.split("=", 1)
            for line in Seat(port, {1: controller_port}).properties(_KAFKA_DATA).splitlines()
        )
        properties["listeners"] = f"PLAINTEXT://:{port},CONTROLLER://127.0.0.1:{controller_port}"
        container.with_envs(
            KAFKA_HEAP_OPTS=" ".join(("-Xms64m", "-Xmx256m", *options)),
            # the image's own way: KAFKA_LOG_DIRS is log.dirs
            **{f"KAFKA_{name.upper().replace('.', '_')}": v for name, v in properties.items()},
        )
        super().__init__("kafka", container)
        self._port = port
        self.bootstrap = f"127.0.0.1:{port}"

    async def answers(self) -> bool:
        return await kafka_answers(self._port, node_id=1)


class ContainerRedis(Container):
    """Redis without persistence, as the native one."""

    def __init__(self, *, port: int) -> None:
        command = ["redis-server", "--save", "", "--appendonly", "no"]
        super().__init__("redis", _container(REDIS_IMAGE, {"6379/tcp": port}, command))
        self._port = port
        self.url = redis_url(port)

    async def answers(self) -> bool:
        return await redis_answers(self._port)


def _container(
    image: str, ports: Mapping[str, int], command: Sequence[str] | None
) -> "DockerContainer":
    # 0.5 s of imports that only who asks for containers pays
    from testcontainers.core.container import (  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
        DockerContainer,
    )

    container = DockerContainer(image)
    # on the loopback only, which `with_bind_ports` cannot say
    bound = cast("dict[str, Any]", container.ports)
    bound.update({inside: ("127.0.0.1", port) for inside, port in ports.items()})
    if command is not None:
        container.with_command(list(command))
    return container


def _docker_answers() -> bool:
    """Asked by hand: docker-py takes half a second, and leaves a socket open where it fails."""
    path = urlsplit(os.environ.get("DOCKER_HOST", _ENGINE)).path  # of ports: those of this machine
    with socket.socket(socket.AF_UNIX) as engine:
        engine.settimeout(_ASK_SECONDS)
        try:
            engine.connect(path)
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return engine.recv(12).endswith(b" 200")
        except OSError:
            return False
