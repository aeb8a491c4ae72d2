"""sales over HTTP, its API a process: commands about deals, and the board of a pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
from crm_chassis.apikeys import keep_key, new_api_key
from crm_chassis.http.reads import CHECKPOINTS
from crm_deciding.draft import CORRELATION, SET
from crm_events.sales import DealOpened, DealStageChanged
from crm_events.sealing import seal
from crm_events.topics import DEALS
from crm_store.ids import derived_id
from crm_store.log.append import APPEND_STREAMS, LOAD
from crm_store.log.entries import NewEvent, Statement, StreamAppend
from crm_store.log.statements import followed
from crm_store.partitioning import partition_of
from sales.deals.board import BOARD
from sales.deals.pipeline import pipeline
from sales.deals.pipelines import Pipeline
from sales.deals.rotting import ROT

from tests.bench.asking import Asking
from tests.bench.bench import Bench
from tests.bench.calling import caller_of
from tests.bench.filled import LEVEL
from tests.bench.load import customer
from tests.bench.processes import running, service
from tests.bench.product import FACTS, Sales, mint, sales_on
from tests.bench.row import Contestant, Row, Run, at_most

COMMANDS_A_SECOND, BOARDS_A_SECOND = 200, 50
SECONDS, QUICK_SECONDS = 20, 3
OPEN_DEALS = 10_000
CUSTOMERS = 500
AT_ONCE = 100
AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = timedelta(days=21)
OWNER = UUID("0190a0a0-0000-7000-8000-000000000001")
MOVED = f"""
select count(*) from log where type = '{DealStageChanged.type}' and version = 2
    and data ->> 'stage' = $1
"""  # noqa: S608  # a constant
DEALS_IN_STAGES = """
insert into deal (deal_id, version, customer_id, title, pipeline, stage, stage_since, status,
                  amount, currency, owner_id, products, opened_at)
select gen_random_uuid(), 1, gen_random_uuid(), 'Deal ' || n, $2,
       ($3::text[])[n % cardinality($3) + 1], $4::timestamptz - n * interval '1 minute',
       case when n <= $1 then 'open' else 'lost' end, n % 9973, 'EUR', gen_random_uuid(), '[]',
       $4::timestamptz - n * interval '1 minute'
from generate_series(1, 2 * $1) n
"""


def deal(n: int) -> UUID:
    return derived_id(FACTS, f"deal {n}")


def owner_of(n: int) -> UUID:
    """The customer whom the deal is with."""
    return customer(n % CUSTOMERS + 1)


async def open_deals(placed: Sales, count: int) -> Pipeline:
    """So many deals in the first stage of the pipeline that comes with sales, with their timers."""
    chosen = placed.settings.pipelines.pipelines[0]
    await mint(placed.core.pool, (customer(rank) for rank in range(1, CUSTOMERS + 1)))
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        appends = [StreamAppend(deal(n), 0, (_opened(n, chosen),)) for n in numbers]
        timers = _timers(numbers, AT)
        await placed.core.log.append(streams=appends, also=[timers])
    return chosen


def _opened(n: int, chosen: Pipeline) -> NewEvent:
    event = DealOpened(
        deal_id=deal(n),
        customer_id=owner_of(n),
        pipeline=chosen.name,
        stage=chosen.stages[0].name,
        title=f"Deal {n}",
        amount=None,
        expected_close=None,
        owner_id=OWNER,
    )
    return NewEvent(event, derived_id(FACTS, f"opened {n}"), AT, owner_of(n))


@asynccontextmanager
async def commanding(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    seconds = bench.size(SECONDS, quick=QUICK_SECONDS)
    asking = Asking(COMMANDS_A_SECOND, seconds, {"events of a deal before": 1})

    async def kith() -> Run:
        async with sales_on(bench) as placed:
            chosen, pool = await open_deals(placed, asking.count), placed.core.pool
            key, stage = new_api_key(), chosen.stages[1].name
            await keep_key(pool, key, name="bench", scopes=["deals:write"])
            api = service(bench, "sales", placed.url, role="api")
            async with running(bench, api=api), caller_of(api.url, key) as caller:

                async def move(n: int) -> bool:
                    receipt = await caller.post(f"/deals/{deal(n)}/stage", {"stage": stage})
                    return orjson.loads(receipt)["version"] == 2

                run = await asking.run(bench, "kith", "POST /deals/{id}/stage", move)
            moved = await pool.fetchval(MOVED, stage)
        return replace(run, correct=run.correct and moved == asking.count)

    async def bare() -> Run:
        async with sales_on(bench) as placed:
            chosen, pool = await open_deals(placed, asking.count), placed.core.pool
            prepared = [moved_to(n, chosen) for n in range(asking.count)]

            async def move(n: int) -> bool:
                found = await pool.fetch(LOAD, [deal(n)])
                rows = await pool.fetch(prepared[n].sql, *prepared[n].args)
                return len(found) == len(rows) == 1

            run = await asking.run(bench, "ceiling", "its two statements, bare asyncpg", move)
            moved = await pool.fetchval(MOVED, chosen.stages[1].name)
        return replace(run, correct=run.correct and moved == asking.count)

    yield kith, bare


def moved_to(n: int, chosen: Pipeline) -> Statement:
    """What appends that a deal moved into the second stage, and sets its timer anew."""
    event = DealStageChanged(
        deal_id=deal(n),
        customer_id=owner_of(n),
        pipeline=chosen.name,
        from_stage=chosen.stages[0].name,
        stage=chosen.stages[1].name,
    )
    event_id = derived_id(FACTS, f"moved {n}")
    data = seal(event, event_id=event_id, subject=owner_of(n), keys={})
    meta = orjson.dumps({CORRELATION: str(event_id)}).decode()
    row = Statement(
        APPEND_STREAMS,
        (
            1, AT, [deal(n)], [1], [], [], [], [deal(n)], [2], [event_id], [event.type],
            [event.version], [owner_of(n)], [AT], [DEALS.name],
            [partition_of(owner_of(n), DEALS.partitions)], [data], [meta],
        ),
    )  # fmt: skip
    return followed(row, [_timers([n], AT + LATER)])


def _timers(numbers: Sequence[int], due_at: datetime) -> Statement:
    count = len(numbers)
    deals = sorted(deal(n) for n in numbers)  # as the product sets them
    return Statement(SET, (["deal"] * count, deals, [ROT] * count, [due_at] * count))


@asynccontextmanager
async def boards(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    count = bench.size(OPEN_DEALS, quick=1_000)
    seconds = bench.size(SECONDS, quick=QUICK_SECONDS)
    asking = Asking(BOARDS_A_SECOND, seconds, {"open deals": count, "lost deals": count})
    async with sales_on(bench) as placed:
        pool, chosen = placed.core.pool, await open_deals(placed, 1)
        stages = [stage.name for stage in chosen.stages]
        await pool.execute(DEALS_IN_STAGES, count, chosen.name, stages, placed.core.clock())
        await pool.execute("analyze deal")
        await pool.execute(LEVEL, [pipeline.name], [pipeline.version])
        key = new_api_key()
        await keep_key(pool, key, name="bench", scopes=["deals:read"])
        api = service(bench, "sales", placed.url, role="api")
        chances = [stage.probability for stage in chosen.stages]

        async with running(bench, api=api), caller_of(api.url, key) as caller:

            async def over_http(_: int) -> bool:
                board = orjson.loads(await caller.get(f"/pipelines/{chosen.name}/board"))
                return sum(stage["deals"] for stage in board["stages"]) == count

            async def bare(_: int) -> bool:
                await pool.fetch(CHECKPOINTS)
                rows = await pool.fetch(BOARD, chosen.name, stages, chances)
                return sum(row["deals"] for row in rows) == count

            yield (
                lambda: asking.run(bench, "kith", "GET /pipelines/{name}/board", over_http),
                lambda: asking.run(bench, "ceiling", "its two statements, bare asyncpg", bare),
            )


ROWS = (
    Row(
        "command",
        does="a deal is moved, 200 commands/s over HTTP, open loop, the API a process",
        contestants=commanding,
        figure="p99_ms",
        unit="ms at p99",
        keys="every command its own deal, of 500 customers",
        promises={
            "POST /deals/{id}/stage": "durable at the answer; decided on the deal as it is, a "
            "conflict decided anew",
            "its two statements": "the stream loaded, the event appended with its timer; nothing "
            "decided, no key asked for",
        },
    ),
    Row(
        "board",
        does="the board of a pipeline with 10,000 open deals, 50 requests/s, open loop, the API a "
        "process",
        contestants=boards,
        bars=(at_most(50, "ms", figure="p99_ms"),),
        figure="p99_ms",
        unit="ms at p99",
        keys="as many deals are lost as open, in five stages alike",
        promises={
            "GET /pipelines/{name}/board": "says how fresh it is; each stage with its sums",
            "its two statements": "the same sums; no key asked for, nothing put together",
        },
    ),
)
