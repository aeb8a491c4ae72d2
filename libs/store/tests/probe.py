"""A small contract of its own for the chassis' tests, and a service reduced to the chassis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from crm_events.base import Event
from crm_events.personal import SEALED, Personal
from crm_events.topics import Contract, Topic
from crm_store.ids import derived_id, new_id
from crm_store.keyring import Keyring
from crm_store.log.append import Log
from crm_store.log.entries import Fact, NewEvent, Statement, StreamAppend
from crm_store.log.wakeups import Wakeups

SOURCE = UUID("6b1f5c54-6a3c-4a0e-9f5c-0d8f7e0c1a11")
AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STAYS_OPEN = """
set local idle_in_transaction_session_timeout = 0;
set local transaction_timeout = 0;
"""
"""For a transaction that a test holds open: no limit of its session ends it before."""
OF_THIS_RUN = "update log_epoch set server_started_at = pg_postmaster_start_time()"
"""For a copy of an empty log: a log is of one run of its server, and tests end runs."""


class Counted(Event, type="probe.thing.counted", version=1):
    number: int


class Named(Event, type="probe.thing.named", version=1):
    name: Personal[str] = SEALED


class Noted(Event, type="probe.thing.noted", version=1):
    note: str


THINGS = Topic("probe.things", "probe", (Counted, Named))


@dataclass(frozen=True)
class Probe:
    """A service of its own, as far as the chassis goes."""

    pool: asyncpg.Pool
    log: Log
    keyring: Keyring
    contract: Contract
    wakeups: Wakeups
    mint: Callable[[UUID], Awaitable[None]]

    async def count(self, customer: UUID, *numbers: int) -> None:
        """Append one fact per number, all of this customer."""
        await self.log.append(facts=[self.fact(customer, number) for number in numbers])

    def fact(self, customer: UUID, number: int) -> Fact:
        return Fact(
            derived_id(SOURCE, str(customer), str(number)),
            NewEvent(Counted(number=number), new_id(), AT, customer),
        )

    def stream(self, stream_id: UUID, expected: int, *numbers: int) -> StreamAppend:
        events = tuple(NewEvent(Counted(number=n), new_id(), AT, stream_id) for n in numbers)
        return StreamAppend(stream_id, expected, events)

    async def execute(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            await self.pool.execute(statement.sql, *statement.args)


async def is_migrated(pool: asyncpg.Pool) -> bool:
    """Are the chassis' tables there?"""
    return bool(await pool.fetchval("select to_regclass('log_epoch') is not null"))
