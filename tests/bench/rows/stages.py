"""The collector's stages, each timed alone over the same calls: where the time of a call goes.

They are the functions that the collector calls, in its order and with what the stage before made
of the calls; what the whole call costs above their sum is HTTP, the keys of senders, and tasks
that wait for each other.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from contacts.collector.body import parse_batch
from contacts.collector.identity import follow
from contacts.collector.intake import FACTS, Intake
from contacts.collector.received import Numbered, Request
from contacts.collector.segment import Arrival, check_message, merged, read_message
from contacts.collector.set_aside import Drawer
from contacts.people.draft import Cause
from contacts.people.identifiers import distinct
from contacts.people.registry import Registry
from contacts.subject_keys import SubjectKeys
from crm_chassis.apikeys import COLLECT, keep_key, new_write_key
from crm_events.keys import Destroyed
from crm_events.topics import CONTRACT
from crm_store.ids import derived_id, new_id
from crm_store.keyring import Keyring
from crm_store.log.append import APPEND_FACTS
from crm_store.log.entries import Fact, NewEvent
from crm_store.log.rows import columns_of

from tests.bench.bench import Bench
from tests.bench.growth_picture import COST
from tests.bench.processes import service
from tests.bench.product import Contacts, contacts_on
from tests.bench.row import Contestant, Row, Run
from tests.bench.rows.collector import BATCH, STORED, bodies, posted

EVENTS, QUICK_EVENTS = 20_000, 2_000
SOURCE = "bench"
WHOLE = "the whole call, over HTTP"
READ, DECIDE = "parse and check", "decide"
KEYS, COLD_KEYS = "look up keys, in memory", "look up keys, none in memory"
SEAL, WRITE = "seal", "statement"
BEFORE = {
    READ: (),
    DECIDE: (READ,),
    KEYS: (READ, DECIDE),
    COLD_KEYS: (READ, DECIDE),
    SEAL: (READ, DECIDE, KEYS),
    WRITE: (READ, DECIDE, KEYS, SEAL),
}
"""What has been done, untimed, when a stage begins."""


@dataclass(slots=True)
class Call:
    """One call, and what the stages so far have made of it."""

    body: bytes
    messages: tuple[Numbered, ...] = ()
    facts: Sequence[Fact] = ()
    keys: Mapping[str, bytes | Destroyed] | None = None
    columns: tuple[list[Any], ...] = ()
    written: int = 0


class Stages:
    """contacts' collector in pieces, on a database of its own."""

    def __init__(self, placed: Contacts) -> None:
        settings, core = placed.settings, placed.core
        self._core = core
        self._cold = Keyring(core.pool, settings.keks)
        self._registry = Registry(
            pool=core.pool,
            log=core.log,
            subject_keys=SubjectKeys(core.keyring, settings.keks[0]),
            digest_key=settings.digest_key.get_secret_value(),
            mint_id=new_id,
        )
        drawer = Drawer(pool=core.pool, keks=settings.keks)
        self._intake = Intake(registry=self._registry, log=core.log, drawer=drawer, mint_id=new_id)
        self._arrival = Arrival(
            source=SOURCE,
            received_at=core.clock(),
            sent_at=None,
            mint_id=new_id,
            currency=settings.currency,
        )
        self.by_name: Mapping[str, Callable[[Call], Awaitable[None]]] = {
            READ: self._read,
            DECIDE: self._decide,
            KEYS: partial(self._look_up, core.keyring),
            COLD_KEYS: partial(self._look_up, self._cold),
            SEAL: self._seal,
            WRITE: self._write,
        }

    @property
    def now(self) -> datetime:
        return self._arrival.received_at

    async def take(self, calls: Sequence[Call]) -> None:
        """All stages at once, as the collector does them: who sends is known then."""
        for call in calls:
            await self._read(call)
            await self._intake.take(
                Request(SOURCE, self.now, call.messages, (), keeps_refused=True)
            )

    async def _read(self, call: Call) -> None:
        batch = parse_batch(call.body)
        read: list[Numbered] = []
        for at, raw in enumerate(batch.messages):
            if not batch.clean:
                check_message(raw)
            whole = merged(raw, batch.envelope)
            read.append(Numbered(at, raw, read_message(whole, kind=None, arrival=self._arrival)))
        call.messages = tuple(read)

    async def _decide(self, call: Call) -> None:
        messages = [one.message for one in call.messages]
        holders = await self._registry.holders(distinct(one.bearer for one in messages))
        draft = self._registry.draft_from(holders, {}, epoch=await self._core.log.epoch())
        facts: list[Fact] = []
        for message in messages:
            event_id = new_id()
            cause = Cause(message.occurred_at, {"causationid": str(event_id)})
            customer_id = follow(message, draft, cause=cause)
            new = NewEvent(
                event=message.fact.of(customer_id),
                event_id=event_id,
                occurred_at=message.occurred_at,
                partition_key=customer_id,
            )
            facts.append(Fact(derived_id(FACTS, SOURCE, message.message_id), new))
        assert not draft.registered, "who sends is known"
        call.facts = facts

    async def _look_up(self, keyring: Keyring, call: Call) -> None:
        call.keys = await keyring.keys({str(one.event.partition_key) for one in call.facts})

    async def _seal(self, call: Call) -> None:
        rows = [(one.stream_id, 1, one.event) for one in call.facts]
        call.columns = columns_of(rows, self.now, call.keys or {}, contract=CONTRACT)

    async def _write(self, call: Call) -> None:
        rows = await self._core.pool.fetch(APPEND_FACTS, 1, self.now, *call.columns)
        call.written = len(rows)


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    events = bench.size(EVENTS, quick=QUICK_EVENTS)

    async def whole() -> Run:
        async with contacts_on(bench) as placed:
            key = new_write_key()
            await keep_key(placed.core.pool, key, name=SOURCE, scopes=[COLLECT])
            api = service(bench, "contacts", placed.url, role="api")
            before = bodies(events, key, prefix="w", unknown=False)
            calls = bodies(events, key, prefix="m", unknown=False)
            timed = await posted(bench, api, calls, before=before, senders=1)
            stored = await placed.core.pool.fetchval(STORED)
        return timed.run(
            "kith",
            WHOLE,
            events=events,
            correct=stored == events,
            figures=timed.cost_of(events),
            settings={"senders": 1, "a call": BATCH},
        )

    async def alone(stage: str) -> Run:
        async with contacts_on(bench) as placed:
            stages = Stages(placed)
            await stages.take([Call(one) for one in bodies(events, "", prefix="w", unknown=False)])
            calls = [Call(one) for one in bodies(events, "", prefix="m", unknown=False)]
            for name in BEFORE[stage]:
                for call in calls:
                    await stages.by_name[name](call)
            work = stages.by_name[stage]
            with no_garbage_looked_for():
                async with bench.timed() as timed:
                    for call in calls:
                        await work(call)
            correct = await is_done(placed, stage, calls, events)
        return timed.run(
            "kith",
            stage,
            events=events,
            correct=correct,
            figures=timed.cost_of(events),
            settings={"one after the other": True, "a call": BATCH},
        )

    yield whole, *(partial(alone, stage) for stage in BEFORE)


@contextmanager
def no_garbage_looked_for() -> Iterator[None]:
    """What a service forgets with each call is kept here for the next stage, and never scanned."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def is_done(placed: Contacts, stage: str, calls: Sequence[Call], events: int) -> bool:
    """Is there of every event what the stage makes of it?"""
    match stage:
        case "parse and check":
            made = sum(len(call.messages) for call in calls)
        case "decide":
            made = sum(len(call.facts) for call in calls)
        case "seal":
            made = sum(len(call.columns[0]) for call in calls)
        case "statement":
            made = await placed.core.pool.fetchval(STORED)
        case _:
            customers = ({one.event.partition_key for one in call.facts} for call in calls)
            return [len(call.keys or ()) for call in calls] == list(map(len, customers))
    return made == events


ROWS = (
    Row(
        "collector.stages",
        does="the stages of a call of 100 events, each alone over the same calls",
        contestants=contestants,
        figure=COST,
        unit="us an event",
        keys="Zipf",
        promises={
            WHOLE: "durable, once for ever by message id, sealed",
            READ: "a stage, in one process, one call after the other",
            DECIDE: "a stage, in one process, one call after the other",
            KEYS: "a stage, in one process, one call after the other",
            COLD_KEYS: "the same when nobody came within the last minute",
            SEAL: "a stage, in one process, one call after the other",
            WRITE: "a stage, in one process, one call after the other; durable",
        },
        no_ceiling="it is `collector`, taken apart",
    ),
)
