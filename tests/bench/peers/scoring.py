"""Scoring engines beside Kith: one topic, one fold, each durable, checked to the cent."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import UUID

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata

from tests.bench.bench import Bench
from tests.bench.load import Total, samples, totals
from tests.bench.peers.environment import ENGINES, python, streams_command
from tests.bench.row import Contestant, Run, Setting

PARTITIONS = 4
EVENTS, WARM_EVENTS, QUICK_EVENTS = 300_000, 1_200_000, 10_000
TOPICS = {EVENTS: "peers.events", WARM_EVENTS: "peers.events-warm", QUICK_EVENTS: "peers.few"}
LONGEST_S, STARTED_WITHIN_S = 180.0, 60.0
LOOK_EVERY_S = 0.05
KILL_AFTER = 0.45
QUIET_S = 2.0
SESSION_S = 10
"""Of those that join a group, as their sources set it."""
TASKSET = shutil.which("taskset") or ""
Decoded = tuple[UUID, Total]
_rounds = itertools.count(1)


@dataclass(frozen=True)
class Engine:
    """One peer. `table` is where its last state of each customer lies; {g}, {t} are filled in."""

    name: str
    command: Callable[[], list[str] | None]  # None: what it needs is not here
    table: str
    decode: Callable[[bytes, bytes], Decoded | None]
    events: int = EVENTS
    commit_seconds: float = 1.0
    threads: int = 1
    pinned: bool = False
    out: bool = False  # every state goes to a topic of its own
    prepare: Callable[[Path], list[str]] | None = None

    @property
    def settings(self) -> dict[str, Setting]:
        return {
            "commit every ms": int(self.commit_seconds * 1e3),
            "threads": self.threads,
            "partitions": PARTITIONS,
            "pinned": "one core; servers on the other" if self.pinned else "no",
            **({} if self.out else {"session timeout s": SESSION_S}),
        }


def bytewax_command() -> list[str]:
    run = [str(python()), "-m", "bytewax.run", "bytewax_score:flow"]
    return [*run, "-s", "1", "-b", "0", "-r", "{state}/recovery"]


def _streams(key: bytes, value: bytes) -> Decoded | None:
    count, cents, _score, _last = struct.unpack(">qqdq", value)
    return UUID(key.decode()), Total(count, cents)


def _quix(key: bytes, value: bytes) -> Decoded | None:
    if key.count(b"|") != 1:
        return None
    count, cents, *_ = orjson.loads(value)
    return UUID(key.split(b"|")[0].decode().strip('"')), Total(count, cents)


def _plain(key: bytes, value: bytes) -> Decoded | None:
    count, cents, *_ = orjson.loads(value)
    return UUID(key.decode()), Total(count, cents)


ENGINES_BESIDE = (
    Engine(
        "Kafka Streams eos, one core", streams_command, "{g}-scores-changelog", _streams,
        events=WARM_EVENTS, commit_seconds=0.1, pinned=True,
    ),
    Engine(
        "Kafka Streams eos, two cores", streams_command, "{g}-scores-changelog", _streams,
        events=WARM_EVENTS, commit_seconds=0.1, threads=2,
    ),
    Engine(
        "Quix exactly-once", lambda: [str(python()), str(ENGINES / "quix_score.py")],
        "changelog__{g}--{t}--default", _quix,
    ),
    Engine(
        "Bytewax, every state out", bytewax_command, "out-{g}", _plain,
        out=True,
        prepare=lambda state: [str(python()), "-m", "bytewax.recovery", f"{state}/recovery", "1"],
    ),
)  # fmt: skip


class Running:
    """A process of an engine, and how far it says it is."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._errors: IO[bytes] = (folder / "errors.txt").open("ab")
        self._said = folder / f"said-{time.monotonic_ns()}.txt"
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=out, stderr=self._errors
            )

    @property
    def seen(self) -> int:
        lines = self._said.read_bytes().rpartition(b"\n")[0].splitlines()
        marks = [int(line.split()[1]) for line in lines[-20:] if line.startswith(b"P ")]
        return marks[-1] if marks else 0

    def check(self) -> None:
        if self.process.poll() is not None:
            said = Path(self._errors.name).read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"ended with {self.process.poll()}: {(said or [''])[-1]:.300}")

    async def has_seen(self, count: int, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while self.seen < count:
                self.check()
                await asyncio.sleep(LOOK_EVERY_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._errors.close()


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    """Each engine twice: undisturbed, and killed with -9 in the middle."""
    found: list[Contestant] = []
    for engine in ENGINES_BESIDE:
        command = engine.command()
        if command is None:
            continue  # named in the report as not measured
        events = bench.size(engine.events, quick=QUICK_EVENTS)
        found.append(_contestant(bench, engine, command, events, killed=False))
        if not engine.pinned:
            found.append(_contestant(bench, engine, command, events, killed=True))
    for events in {bench.size(engine.events, quick=QUICK_EVENTS) for engine in ENGINES_BESIDE}:
        await publish(bench.kafka, TOPICS[events], events)
    yield found


def _contestant(
    bench: Bench, engine: Engine, command: list[str], events: int, *, killed: bool
) -> Contestant:
    async def run() -> Run:
        group = f"peer-{next(_rounds)}"
        state = bench.folder / group
        (state / "recovery").mkdir(parents=True)
        topic, out = TOPICS[events], f"out-{group}"
        environment = {
            **os.environ,
            "PEER_BOOTSTRAP": bench.kafka,
            "PEER_TOPIC": topic,
            "PEER_GROUP": group,
            "PEER_STATE": str(state),
            "PEER_OUT": out,
            "PEER_THREADS": str(engine.threads),
            "PEER_COMMIT_SECONDS": str(engine.commit_seconds),
            "PYTHONPATH": str(ENGINES),
        }
        if engine.out:
            await create(bench.kafka, out, compact=True)
        if engine.prepare is not None:
            await asyncio.to_thread(
                subprocess.run, engine.prepare(state), check=True, env=environment
            )
        filled = [part.format(state=state) for part in command]
        pin = [TASKSET, "-c", "1"] if engine.pinned and TASKSET else []
        with _servers_apart(bench, apart=bool(pin)):
            running = Running([*pin, *filled], environment, state)
            try:
                figures: dict[str, float] = {}
                if killed:
                    await running.has_seen(int(events * KILL_AFTER), LONGEST_S)
                    running.kill()
                    began = time.perf_counter()
                    running = Running([*pin, *filled], environment, state)
                await running.has_seen(1, STARTED_WITHIN_S)
                if killed:
                    figures["back_s"] = time.perf_counter() - began
                with bench.watch(engine=running.process.pid):
                    async with bench.timed() as timed:
                        await durable(
                            bench.kafka,
                            running,
                            group,
                            out if engine.out else "",
                            topic,
                            events,
                            exactly=not (killed and engine.out),
                        )
            finally:
                running.kill()
        table = engine.table.format(g=group, t=topic)
        right = totals(samples(events))
        return timed.run(
            "peer",
            f"{engine.name}, kill -9 in the middle" if killed else engine.name,
            events=events - int(events * KILL_AFTER) if killed else events,
            correct=await last_states(bench.kafka, table, engine.decode) == right,
            figures=figures,
            settings=engine.settings,
        )

    return run


async def durable(  # noqa: PLR0917  # where to look, and how far
    kafka: str, running: Running, group: str, out: str, topic: str, events: int, *, exactly: bool
) -> None:
    """Until the engine has committed all of it, in its own sense."""
    places = [TopicPartition(topic, n) for n in range(PARTITIONS)]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed")
    await admin.start()
    await consumer.start()
    try:
        before = -1
        async with asyncio.timeout(LONGEST_S):
            while True:
                running.check()
                if out:
                    ends = await consumer.end_offsets(
                        [TopicPartition(out, n) for n in range(PARTITIONS)]
                    )
                    done = sum(ends.values())
                else:
                    offsets: Mapping[
                        TopicPartition, OffsetAndMetadata
                    ] = await admin.list_consumer_group_offsets(group, partitions=places)
                    done = sum(max(one.offset, 0) for one in offsets.values())
                # States that went out twice count twice there: then the end is when no more come.
                if done >= events and (exactly or done == before):
                    return
                before = done
                await asyncio.sleep(LOOK_EVERY_S if exactly else QUIET_S)
    finally:
        await consumer.stop()
        await admin.close()


async def publish(kafka: str, topic: str, events: int) -> None:
    """The first events of the seed, keyed by customer; once, for all engines."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    there = topic in await admin.list_topics()
    await admin.close()
    if there:
        return
    await create(kafka, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", linger_ms=5, max_batch_size=500_000
    )
    await producer.start()
    try:
        for sample in samples(events):
            key = str(sample.customer_id).encode()
            partition = sample.customer_id.int % PARTITIONS
            await producer.send(topic, sample.body(), key=key, partition=partition)
    finally:
        await producer.stop()


async def create(kafka: str, topic: str, *, compact: bool = False) -> None:
    policy = {"cleanup.policy": "compact"} if compact else {"retention.ms": "-1"}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=policy)])
    finally:
        await admin.close()


async def last_states(
    kafka: str, topic: str, decode: Callable[[bytes, bytes], Decoded | None]
) -> dict[UUID, Total]:
    """Count and cents of each customer, as a reader of committed records sees them last."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed")
    await consumer.start()
    try:
        places = [TopicPartition(topic, n) for n in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: dict[UUID, Total] = {}
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    told = record.value and decode(record.key, record.value)
                    if told:
                        found[told[0]] = told[1]
        return found
    finally:
        await consumer.stop()


@contextmanager
def _servers_apart(bench: Bench, *, apart: bool) -> AsyncIterator[None]:
    """Where an engine has a core of its own, the servers and this harness share the other."""
    pids = [os.getpid(), *bench.meter.trees.values()] if apart else []
    try:
        for pid in pids:
            _pin(pid, "0")
        yield
    finally:
        for pid in pids:
            _pin(pid, "0-1")


def _pin(pid: int, cores: str) -> None:
    subprocess.run([TASKSET, "-a", "-p", "-c", cores, str(pid)], check=True, capture_output=True)
