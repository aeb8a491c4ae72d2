"""Log to score for six kinds of event: caps, conditions, and every sum held against an oracle."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import asyncpg
from analytics.engagement.engagement import engagement
from analytics.engagement.model import ScoringModel, load_model, read_model
from crm_events.topics import CONTRACT

from tests.bench.bench import Bench
from tests.bench.checkpoint import register
from tests.bench.heard import as_bought, as_expected, expected, hear, one_weight_per_kind
from tests.bench.load import Keys, samples
from tests.bench.product import Analytics, analytics_on
from tests.bench.row import Bar, Contestant, Row, Run, at_least, of_ceiling, times_peer
from tests.bench.rows.fold import projector

EVENTS: Final = 400_000
PAGE_ROWS: Final = 5_000
ANEW: Final = "truncate engagement, engagement_day, standing, buying, projection_checkpoint"

PAGE: Final = """
with page as materialized (
    select l.epoch, l.xid, l.gp, l.type, l.partition_key, l.occurred_at from log l
    where (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
      and (l.epoch < (select max(epoch) from log_epoch)
           or l.xid < pg_snapshot_xmin(pg_current_snapshot()))
    order by l.epoch, l.xid, l.gp limit $4)
select l.epoch, l.xid::text, l.gp, p.* from
    (select array_agg(partition_key), array_agg(type), array_agg(occurred_at) from page) p,
    (select * from page order by epoch desc, xid desc, gp desc limit 1) l
"""
ROWS_OF: Final = """
select array_agg(customer_id), array_agg(s), array_agg(counted), array_agg(last_fact_at)
from engagement where model_id = $1 and customer_id = any($2::uuid[])
"""
WRITE: Final = """
with moved as (
    update projection_checkpoint set epoch = $1, xid = $2::text::xid8, gp = $3
    where name = 'plain' and epoch = $4 and xid = $5::text::xid8 and gp = $6 returning 1
), written as (
    insert into engagement as e (model_id, customer_id, s, counted, last_fact_at)
    select $7::bigint, u.* from unnest($8::uuid[], $9::float8[], $10::bigint[], $11::timestamptz[])
        as u(customer_id, s, counted, last_fact_at) order by u.customer_id
    on conflict (model_id, customer_id) do update set s = excluded.s, counted = excluded.counted,
        last_fact_at = excluded.last_fact_at, changes = e.changes + 1
)
select assert_moved((select count(*) from moved), 1), set_config('synchronous_commit', 'off', true)
"""


async def plain_loop(pool: asyncpg.Pool, model: ScoringModel) -> None:
    """Read a page, read its rows, fold, write and move the checkpoint: fifty lines, no caps."""
    weights = {kind.type: math.log(kind.weight) for kind in model.kinds}
    rate, landmark = model.decay.rate, model.landmark
    model_id, at = model.model_id, (0, "0", 0)
    async with pool.acquire() as connection:
        await register(connection, "plain")
        while (page := await connection.fetchrow(PAGE, *at, PAGE_ROWS)) is not None:
            end = (page[0], page[1], page[2])
            terms: dict[UUID, list[float]] = defaultdict(list)
            last: dict[UUID, datetime] = {}
            for customer, kind, when in zip(page[3], page[4], page[5], strict=True):
                terms[customer].append(weights[kind] + rate * (when - landmark).total_seconds())
                if customer not in last or last[customer] < when:
                    last[customer] = when
            found = await connection.fetchrow(ROWS_OF, model_id, list(terms))
            before: dict[UUID, tuple[float, int, datetime]] = {}
            if found[0] is not None:
                columns = zip(*found[1:], strict=True)
                before = dict(zip(found[0], columns, strict=True))
            counts: list[int] = []
            sums: list[float] = []
            for customer, added in terms.items():
                known = before.get(customer)
                if known is not None:
                    added.append(known[0])
                    last[customer] = max(last[customer], known[2])
                counts.append(len(added) if known is None else known[1] + len(added) - 1)
                most = max(added)
                sums.append(most + math.log(sum(math.exp(one - most) for one in added)))
            await connection.execute(
                WRITE, *end, *at, model_id, list(terms), sums, counts, list(last.values())
            )
            at = end


async def heard(bench: Bench, keys: Keys) -> Analytics:
    """analytics with a log of these events; made once for all rows of a run."""

    @asynccontextmanager
    async def filled() -> AsyncIterator[Analytics]:
        async with analytics_on(bench) as placed:
            await hear(placed.core.pool, samples(size(bench), keys=keys))
            yield placed

    return await bench.shared(f"heard {keys}", filled)


def size(bench: Bench) -> int:
    return bench.size(EVENTS, quick=20_000)


def folding(
    keys: Keys, read: Callable[[], ScoringModel], *, everything: bool = False
) -> Callable[[Bench], AbstractAsyncContextManager[Sequence[Contestant]]]:
    @asynccontextmanager
    async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        placed = await heard(bench, keys)
        core, model, events = placed.core, read(), size(bench)
        scores = expected(events, keys, model)
        models = core.read_models if everything else (engagement(model),)

        async def kith() -> Run:
            await core.pool.execute(ANEW)
            async with bench.timed() as timed:
                folding = projector(core, models)
                while await folding.turn():
                    pass
            right = await as_expected(core.pool, model, scores)
            if everything:
                right = right and await as_bought(placed.url)
            return timed.run(
                "kith",
                "the projector",
                events=events,
                correct=right,
                settings={"read models": len(models), "keys": len(scores)},
            )

        async def ceiling() -> Run:
            await core.pool.execute(ANEW)
            async with bench.timed() as timed:
                await plain_loop(core.pool, plain)
            return timed.run(
                "ceiling",
                "a plain loop, bare asyncpg",
                events=events,
                correct=await as_expected(core.pool, plain, plain_scores),
                settings={"caps": False, "page": PAGE_ROWS},
            )

        plain = plain_model()
        plain_scores = scores if plain == model else expected(events, keys, plain)
        yield kith, ceiling

    return contestants


def plain_model() -> ScoringModel:
    return read_model(one_weight_per_kind(), CONTRACT)


def _row(name: str, does: str, keys: Keys, contestants: Any, *bars: Bar) -> Row:
    return Row(
        name,
        does=does,
        contestants=contestants,
        bars=bars,
        keys=keys,
        reference="Kafka Streams exactly-once, warm, on one core 90k",
        promises={
            "the projector": "exactly once, as of any instant, every event kept",
            "a plain loop": "exactly once, a compare-and-set with each page; no caps, no lease",
        },
    )


PLAIN: Final = "log to score, a model of one weight per kind as the peers fold it"
CAPPED: Final = "log to score, the model that comes with analytics: caps and conditions"
EVERY: Final = "log to every read model of analytics: scores, purchases, links"
default_model = partial(load_model, None, CONTRACT)

ROWS = (
    _row(
        "fold.kinds.zipf",
        PLAIN,
        "Zipf",
        folding("Zipf", plain_model),
        at_least(95_000, "events/s"),
        of_ceiling(0.7),
        times_peer(1.0, "Kafka Streams eos, one core"),
    ),
    _row(
        "fold.capped.zipf",
        CAPPED,
        "Zipf",
        folding("Zipf", default_model),
        at_least(95_000, "events/s"),
    ),
    _row("fold.capped.unique", CAPPED, "unique", folding("unique", default_model)),
    _row("fold.capped.worker", EVERY, "Zipf", folding("Zipf", default_model, everything=True)),
)
