"""The log read to its end by pages, as a fold reads it, beside the plainest select."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from crm_events.contacts import OrderCompleted
from crm_store.log.logged import COLUMNS
from crm_store.log.position import START
from crm_store.log.tail import head, position_of, read_page

from tests.bench.bench import Bench
from tests.bench.product import Contacts, contacts_on
from tests.bench.row import Contestant, Contestants, Row, Run
from tests.bench.rows.relay import fill_own

EVENTS, QUICK_EVENTS = 100_000, 5_000
TYPES = (OrderCompleted.type,)
BARE_PAGE = f"""
select {COLUMNS}, l.data::text as data from log l
where (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
order by l.epoch, l.xid, l.gp limit $4
"""  # noqa: S608  # constants only


async def filled(bench: Bench) -> Contacts:
    """contacts with a log of own purchases; made once for all rows of a run."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Contacts]:
        async with contacts_on(bench) as placed:
            await fill_own(placed.core.pool, bench.size(EVENTS, quick=QUICK_EVENTS))
            yield placed

    return await bench.shared("log to read", opened)


def contestants(page: int) -> Contestants:
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        placed = await filled(bench)
        pool = placed.core.pool
        events, end = await pool.fetchval("select count(*) from log"), await head(pool)
        settings = {"events a page": page}

        async def kith() -> Run:
            at, seen = START, 0
            async with bench.timed() as timed:
                while rows := await read_page(pool, at, limit=page, types=TYPES):
                    at, seen = position_of(rows[-1]), seen + len(rows)
            return timed.run(
                "kith",
                "read_page",
                events=events,
                correct=(seen, at) == (events, end),
                settings=settings,
            )

        async def bare() -> Run:
            connection = await asyncpg.connect(placed.url)
            statement = await connection.prepare(BARE_PAGE)
            at, seen = START, 0
            async with bench.timed() as timed:
                while rows := await statement.fetch(at.epoch, str(at.xid), at.gp, page):
                    at, seen = position_of(rows[-1]), seen + len(rows)
            await connection.close()
            return timed.run(
                "ceiling",
                "bare asyncpg",
                events=events,
                correct=(seen, at) == (events, end),
                settings=settings,
            )

        yield kith, bare

    return opened


ROWS = tuple(
    Row(
        f"tail.{page}",
        does=f"the log read to its end in pages of {page:,}, event by event with its JSON",
        contestants=contestants(page),
        reference=f"pyeventsourcing {reference}",
        keys="Zipf",
        promises={
            "read_page": "in order, each event once, never past a transaction that is still open",
            "bare asyncpg": "the same columns; passes open transactions by and so misses events",
        },
    )
    for page, reference in ((10, "28k"), (100, "134k"), (1_000, "131k to 200k"))
)
