"""A model for measuring reactions: each cause opens a stream that says what follows from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from crm_deciding.decider import Decider, Directive, opened_by
from crm_deciding.reacting import KeyedReaction
from crm_deciding.reaction import Reaction
from crm_events.base import Event
from crm_events.topics import Contract, Topic
from crm_projections.projector import Projector
from crm_store import migrations
from crm_store.clock import utc_now
from crm_store.database import close_pool, open_pool
from crm_store.ids import new_id
from crm_store.keyring import Keyring
from crm_store.log.append import Log
from crm_store.log.entries import Appended, StreamAppend
from crm_store.log.logged import LoggedEvent
from crm_store.log.wakeups import Wakeups

from tests.bench.bench import Bench
from tests.bench.product import CONNECTIONS, KEK, Leads

REACTION: Final = UUID("5b0c6a7e-2f64-4f0e-8d1e-5e0c8f7a1b22")
NAME: Final = "following"


class Happened(Event, type="bench.cause.happened", version=1):
    number: int


class Followed(Event, type="bench.consequence.followed", version=1):
    number: int


CAUSES: Final = Topic("bench.causes", "bench", (Happened,))
CONTRACT: Final = Contract((CAUSES,), private=(Followed,))


@dataclass(frozen=True, slots=True)
class Follow:
    number: int


def decide(command: Follow, state: int) -> tuple[Event, ...]:
    return () if state else (Followed(number=command.number),)


def evolve(state: int, _: Event, __: datetime) -> int:
    return state + 1


FOLLOWING: Final = Decider[Follow, int](
    name=NAME, initial=0, decide=decide, evolve=evolve, partition_key=lambda _: REACTION
)


def reaction() -> Reaction:
    made = Reaction(NAME, REACTION)

    @made.on(Happened)
    def follow(entry: LoggedEvent[Any]) -> Iterable[Directive[Any, Any]]:
        command = Follow(entry.event.number)
        return [Directive(FOLLOWING, opened_by(REACTION, entry), command)]

    return made


@dataclass
class Seen:
    """When the commit of each consequence was answered, by its number; of `time.perf_counter`."""

    at: dict[int, float] = field(default_factory=dict)

    def saw(self, numbers: Iterable[int]) -> None:
        self.at |= dict.fromkeys(numbers, time.perf_counter())


class SeenLog(Log):
    """The log that a reaction appends to, which notes when it was answered."""

    seen: Seen

    async def append(self, *, streams: Iterable[StreamAppend] = (), **told: Any) -> Appended:
        appended = await super().append(streams=tuple(streams), **told)
        self.seen.saw(new.event.number for append in streams for new in append.events)
        return appended


@dataclass(frozen=True)
class Placed:
    """A service that has causes and consequences and nothing else."""

    url: str
    pool: asyncpg.Pool
    log: SeenLog
    wakeups: Wakeups

    @asynccontextmanager
    async def reacting(self) -> AsyncIterator[None]:
        """Its worker, as far as the reaction goes."""
        keyed = KeyedReaction(self.pool, reaction(), log=self.log, clock=utc_now, mint_id=new_id)
        projector = Projector(
            pool=self.pool,
            log=self.log,
            models=(),
            keyed=[keyed],
            lease=Leads(),
            wake=self.wakeups.subscribe(),
            clock=utc_now,
        )
        while await projector.turn():  # from here on there is news
            pass
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.wakeups.run(stop, beat=lambda: None))
            group.create_task(projector.run(stop, beat=lambda: None))
            try:
                yield
            finally:
                stop.set()


@asynccontextmanager
async def placed_on(bench: Bench) -> AsyncIterator[Placed]:
    async with bench.database() as url:
        await migrations.install(url)
        async with open_pool(url, application_name="bench", max_size=CONNECTIONS) as pool:
            keyring, wakeups = Keyring(pool, [KEK]), Wakeups(pool)
            log = SeenLog(
                pool=pool, contract=CONTRACT, keyring=keyring, clock=utc_now, wakeups=wakeups
            )
            log.seen = Seen()
            yield Placed(url, pool, log, wakeups)
            await close_pool(pool)
