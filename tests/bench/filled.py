"""Logs and read models of a chosen size, written by SQL in chunks: what growth is measured on.

What lies there has the shape and the size of what the product writes. Customers are drawn about as
Zipf with s = 1; the sealed part is as long as a real one and opens with no key, so that models
that open personal data are not run over it. One transaction a chunk: a long one would hold every
tail of the cluster back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import analytics.bootstrap
import asyncpg
from contacts.customer_file.deals import deals
from contacts.customer_file.scores import scores
from contacts.people.directory import directory
from contacts.timeline.timeline import timeline
from crm_events.contacts import OrderCompleted
from crm_events.topics import PURCHASES
from crm_store.partitioning import partition_of

from tests.bench.load import customer

CHUNK: Final = 20_000
EVENTS_PER_CUSTOMER: Final = 10
FEWEST_CUSTOMERS: Final = 50_000
BEGAN_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
BLOB: Final = "51wnocXA1f4gzySk.hfljZJB9E7cVSeIFBEcYTqCZdZsarIQl9qK4DbCbpzSw0anGVClMcAz3tDnYMbTA"

CUSTOMERS: Final = "create unlogged table drawn (rank int primary key, id uuid, partition int)"
# An exponent drawn evenly gives rank r with a probability of about 1 / r. Each event is recorded
# when it occurred: a time far ahead of that would not be believed.
EVENTS: Final = f"""
insert into log (epoch, recorded_at, heard_at, sequence, stream_id, version, event_id, type,
                 schema_version, partition_key, occurred_at, topic, partition, data)
select 1, u.at, case when $5::boolean then u.at end,
       case when $5 then u.n end, gen_random_uuid(), 1, uuidv7(),
       '{OrderCompleted.type}', {OrderCompleted.version}, d.id,
       u.at,
       '{PURCHASES.name}', d.partition,
       format('{{"customer_id":"%s","message_id":"m%s","source":"bench","order_id":"o%s",'
              '"total":{{"amount":"%s","currency":"EUR"}},"products":[],"sealed":{{"%s":"{BLOB}"}}}}',
              d.id, u.n, u.n, u.cents / 100.0, d.id)::json
from (select n, floor(power($3::float8, random()))::int as rank,
             (random() * 10000)::int as cents, $4::timestamptz + n * interval '1 second' as at
      from generate_series($1::int, $2::int) n) u
join drawn d on d.rank = u.rank
order by u.n
"""  # noqa: S608  # constants only
LEVEL: Final = """
insert into projection_checkpoint (name, version, epoch, xid, gp, recorded_at)
select m.name, m.version, l.epoch, l.xid, l.gp, l.recorded_at
from unnest($1::text[], $2::int[]) as m(name, version),
     (select epoch, xid, gp, recorded_at from log order by epoch desc, xid desc, gp desc limit 1) l
on conflict (name, version) do update set epoch = excluded.epoch, xid = excluded.xid,
    gp = excluded.gp, recorded_at = excluded.recorded_at
"""
PEOPLE: Final = """
insert into person (customer_id, profile, identifiers, registered_at, changed_at)
select id, jsonb_build_object('first_name', 'Ada' || rank,
                              'email', 'ada' || rank || '@example.com'),
       jsonb_build_array(jsonb_build_object('namespace', 'user', 'value', 'user-' || rank,
                                            'given', 'user-' || rank, 'since', $3::timestamptz)),
       $3::timestamptz, $3::timestamptz
from drawn where rank between $1 and $2
"""
COURSES: Final = """
insert into score (customer_id, model, model_version, s, landmark, half_life_seconds, counted,
                   last_fact_at)
select id, 'engagement', 1, 30 + random(), '2025-01-01Z', 2592000, 10, $3::timestamptz
from drawn where rank between $1 and $2
"""
DEALS: Final = """
insert into deal (deal_id, customer_id, title, pipeline, stage, status, amount, currency,
                  expected_close, owner_id, opened_at, changed_at)
select gen_random_uuid(), id, 'Cups for ' || rank, 'sales', 'qualified', 'open', 1250, 'EUR',
       '2026-12-31', gen_random_uuid(), $3::timestamptz, $3::timestamptz
from drawn where rank between $1 and $2
"""
TIMELINE: Final = """
insert into timeline_entry
    (customer_id, occurred_at, event_id, type, title, amount, currency, detail)
select partition_key, occurred_at, event_id, type, data ->> 'order_id',
       (data #>> '{total,amount}')::numeric, data #>> '{total,currency}',
       '{"products": [], "properties": {"n": "5f0e8f8c"}}'
from log where gp between $1 and $2
"""
SUMS: Final = """
insert into engagement (model_id, customer_id, s, counted, last_fact_at)
select $4::bigint, id, 30 + random(), 10, $3::timestamptz from drawn where rank between $1 and $2
"""
STANDINGS: Final = """
insert into standing (model_id, customer_id, s_net, members)
select $3::bigint, id, 30 + random(), 1 from drawn where rank between $1 and $2
"""
BOUGHT: Final = """
insert into buying (customer_id, currency, orders, spent, refunds, refunded, first_order_at,
                    last_order_at)
select id, 'EUR', 10, 499.50, 0, 0, $3::timestamptz, $3::timestamptz
from drawn where rank between $1 and $2
"""

FILES: Final = """
insert into timeline_entry
    (customer_id, occurred_at, event_id, type, title, amount, currency, detail)
select d.id, $3::timestamptz + u.n * interval '1 second', uuidv7(), 'contacts.activity.page',
       '/shoes/' || u.n, null, null,
       '{"context": {"page": {"path": "/shoes", "referrer": "https://example.com/search"}}}'
from (select n, case when n <= $4 then n::bigint * 7919 % $4 + 1
                else n % ($4 / 100) * 100 + 1 end as rank
      from generate_series($1::int, $2::int) n) u
join drawn d on d.rank = u.rank
"""
# A hash of all customers anew for each chunk would make the filling quadratic.
SLOWLY: Final = """
set transaction_timeout = 0; set statement_timeout = 0; set synchronous_commit = off;
set enable_hashjoin = off; set enable_mergejoin = off
"""
TABLES: Final = "select tablename from pg_tables where schemaname = 'public'"


def customers_of(size: int) -> int:
    """How many customers a log of that many events has here."""
    return max(FEWEST_CUSTOMERS, size // EVENTS_PER_CUSTOMER)


async def fill_contacts(pool: asyncpg.Pool, size: int) -> None:
    """Own purchases and their read models, all folded; nothing of it was sent."""
    count = customers_of(size)
    async with _settled(pool) as connection:
        await draw(connection, count)
        await add_events(connection, 1, size, count, heard=False)
        await fill_files(connection, count)
        await _in_chunks(connection, TIMELINE, size)
        await level_files(connection)


async def fill_analytics(core: analytics.bootstrap.Core, size: int) -> None:
    """Heard purchases and their read models, all folded."""
    count, model_id = customers_of(size), core.models[0].model_id
    async with _settled(core.pool) as connection:
        await draw(connection, count)
        await add_events(connection, 1, size, count, heard=True)
        await _in_chunks(connection, SUMS, count, BEGAN_AT, model_id)
        await _in_chunks(connection, STANDINGS, count, model_id)
        await _in_chunks(connection, BOUGHT, count, BEGAN_AT)
        await level(connection, core)


async def fill_customer_files(pool: asyncpg.Pool, customers: int) -> None:
    """Read models of so many customers: a deal and an entry each, for one in a hundred 100 more.

    The log has a few rows, so that the read models stand somewhere.
    """
    async with _settled(pool) as connection:
        await draw(connection, customers, placed=False)
        await add_events(connection, 1, 1_000, 1_000, heard=False)
        await fill_files(connection, customers)
        await _in_chunks(connection, DEALS, customers, BEGAN_AT)
        await _in_chunks(connection, FILES, 2 * customers, BEGAN_AT, customers)
        await level_files(connection)


async def draw(connection: asyncpg.Connection, count: int, *, placed: bool = True) -> None:
    """The customers by rank, in the partitions of their ids; all in one where not `placed`."""
    await connection.execute(CUSTOMERS)
    rows = (
        (rank, id_, partition_of(id_, PURCHASES.partitions) if placed else 0)
        for rank, id_ in ((rank, customer(rank)) for rank in range(1, count + 1))
    )
    await connection.copy_records_to_table("drawn", records=rows, timeout=300)
    await connection.execute("analyze drawn", timeout=60)


async def add_events(
    connection: asyncpg.Connection, first: int, last: int, customers: int, *, heard: bool
) -> None:
    """Events number `first` to `last`, behind those that are there."""
    await _in_chunks(connection, EVENTS, last, customers + 1, BEGAN_AT, heard, first=first)


async def fill_files(connection: asyncpg.Connection, customers: int) -> None:
    """The directory and the scores of all that were drawn."""
    await _in_chunks(connection, PEOPLE, customers, BEGAN_AT)
    await _in_chunks(connection, COURSES, customers, BEGAN_AT)


async def level_files(connection: asyncpg.Connection) -> None:
    """Say that contacts' read models have folded everything."""
    models = (directory, timeline, scores, deals)
    names, versions = [one.name for one in models], [one.version for one in models]
    await connection.execute(LEVEL, names, versions)


async def level(connection: asyncpg.Connection, core: analytics.bootstrap.Core) -> None:
    """Say that analytics' read models have folded everything."""
    models = core.read_models
    names, versions = [one.name for one in models], [one.version for one in models]
    await connection.execute(LEVEL, names, versions)


async def _in_chunks(
    connection: asyncpg.Connection, sql: str, last: int, *arguments: object, first: int = 1
) -> None:
    for begin in range(first, last + 1, CHUNK):
        await connection.execute(sql, begin, min(begin + CHUNK - 1, last), *arguments, timeout=60)


@asynccontextmanager
async def unhurried(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection without the limits of a service."""
    async with pool.acquire() as connection:
        await connection.execute(SLOWLY)
        yield connection
        await connection.execute("reset all")


@asynccontextmanager
async def _settled(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """The same; afterwards the tables are as after a vacuum."""
    async with unhurried(pool) as connection:
        yield connection
        for row in await connection.fetch(TABLES):
            await connection.execute(f"vacuum (analyze, freeze) {row['tablename']}", timeout=600)
