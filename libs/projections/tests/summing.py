"""Read models over the probe's numbers, and the one who runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from crm_projections.checkpoints import standing_at
from crm_projections.model import Projection
from crm_projections.projector import Projector
from crm_store.clock import utc_now
from crm_store.log.logged import LoggedEvent
from crm_store.log.tail import head
from probe import Counted, Named, Probe
from sqlalchemy import BigInteger, Column, Integer, MetaData, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

METADATA = MetaData()
SUMS = Table(
    "sums",
    METADATA,
    Column("customer_id", Uuid, primary_key=True),
    Column("total", BigInteger, nullable=False),
    Column("numbers", JSONB, nullable=False),
    Column("name", Text),
)
DIGITS = Table(
    "digits",
    METADATA,
    Column("digit", Integer, primary_key=True),
    Column("parity", Text, primary_key=True),
    Column("seen", Numeric(10, 0), nullable=False),
)
CREATE = """
create table sums (customer_id uuid primary key, total bigint, numbers jsonb, name text);
create table digits (digit int, parity text, seen numeric(10, 0), primary key (digit, parity));
create table batches (n bigint);
"""


@dataclass(frozen=True, slots=True)
class Sum:
    customer_id: UUID
    total: int
    numbers: list[int]
    name: str | None


@dataclass(frozen=True, slots=True)
class Digit:
    digit: int
    parity: str
    seen: int


def sums_model(name: str = "sums") -> Projection[Sum]:
    """Sum per customer; 13 takes the row away, 99 breaks the fold."""
    model = Projection(name, 1, SUMS, Sum, key=lambda entry: (entry.partition_key,), opens=True)

    @model.on(Counted)
    def add(row: Sum | None, entry: LoggedEvent[Any]) -> Sum | None:
        number = entry.event.number
        if number == 13:
            return None
        if number == 99:
            raise ValueError("99 cannot be folded")
        before = row or Sum(entry.partition_key, 0, [], None)
        return replace(before, total=before.total + number, numbers=[*before.numbers, number])

    @model.on(Named)
    def name_it(row: Sum | None, entry: LoggedEvent[Any]) -> Sum | None:
        return replace(row or Sum(entry.partition_key, 0, [], None), name=entry.event.name)

    return model


def digits_model() -> Projection[Digit]:
    def keys(entry: LoggedEvent[Any]) -> list[tuple[Any, ...]]:
        return [(int(d), "even" if int(d) % 2 == 0 else "odd") for d in str(entry.event.number)]

    model = Projection("digits", 1, DIGITS, Digit, key=keys)

    @model.on(Counted)
    def see(row: Digit | None, entry: LoggedEvent[Any]) -> Digit | None:
        digit, parity = entry.key
        return Digit(digit, parity, (0 if row is None else int(row.seen)) + 1)

    return model


class HeldLease:
    held = True

    async def wait_held(self, seconds: float) -> bool:
        return True


def projector(probe: Probe, *models: Any, lease: Any = None) -> Projector:
    return Projector(
        pool=probe.pool,
        log=probe.log,
        models=models,
        lease=lease or HeldLease(),
        wake=probe.wakeups.subscribe(),
        clock=utc_now,
    )


async def catch_up(runner: Projector) -> None:
    async with asyncio.timeout(60):
        while await runner.turn():
            pass


@asynccontextmanager
async def worker(probe: Probe, *models: Any) -> AsyncIterator[None]:
    """A worker that folds these models meanwhile."""
    async with at_work(projector(probe, *models)):
        yield


@asynccontextmanager
async def at_work(runner: Projector) -> AsyncIterator[None]:
    """It runs while the body does."""
    stop = asyncio.Event()
    async with asyncio.timeout(150), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(stop, beat=lambda: None))
        try:
            yield
        finally:
            stop.set()


async def level(probe: Probe, name: str, version: int = 1) -> None:
    """Wait until a model stands at the end of the log."""
    async with asyncio.timeout(60):
        while await standing_at(probe.pool, name, version) < await head(probe.pool):
            await asyncio.sleep(0.01)
