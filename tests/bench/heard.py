"""Facts in analytics' log as its inbox writes them, and the scores that must come of them."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from analytics.engagement.model import ScoringModel
from crm_events.base import Event
from crm_events.contacts import (
    EventTracked,
    GroupJoined,
    OrderCompleted,
    PageViewed,
    ScreenViewed,
    TraitsReceived,
)
from crm_events.topics import CONTRACT
from crm_store.partitioning import partition_of

from tests.bench.load import EVENT_BYTES, FIRST_AT_MS, STEP_MS, Keys, Sample, samples

CHUNK: Final = 2_000
"""Rows of one transaction, as the inbox takes them."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TRACKED: Final = (
    "Product Viewed", "Product Added", "Video Played", "Checkout Started", "List Filtered",
    "Signed Up", "Coupon Seen", "Unsubscribed",
)  # fmt: skip
EVENTS: Final = {
    "page": PageViewed,
    "open": ScreenViewed,
    "track": EventTracked,
    "click": TraitsReceived,
    "visit": GroupJoined,
    "order": OrderCompleted,
}
"""Which event a sample of that kind is here."""

STAGED: Final = """
create unlogged table staged (
    n int, type text, topic text, partition int, sequence bigint, stream_id uuid, event_id uuid,
    partition_key uuid, occurred_at timestamptz, recorded_at timestamptz, data text)
"""
TAKE: Final = """
insert into log (epoch, heard_at, topic, type, partition, sequence, event_id, stream_id, version,
                 schema_version, partition_key, occurred_at, recorded_at, data)
select (select max(epoch) from log_epoch), recorded_at, topic, type, partition, sequence, event_id,
       stream_id, 1, 1, partition_key, occurred_at, recorded_at, data::json
from staged where n between $1 and $2 order by n
"""

# Nothing but the log's JSON, added up by PostgreSQL.
WRONGLY_BOUGHT: Final = f"""
select count(*) from (
    select partition_key as customer_id, data #>> '{{total,currency}}' as currency,
           count(*) as orders, sum((data #>> '{{total,amount}}')::numeric) as spent,
           min(occurred_at) as first_order_at, max(occurred_at) as last_order_at
    from log where type = '{OrderCompleted.type}' group by 1, 2) l
full join buying b using (customer_id, currency)
where (l.orders, l.spent, l.first_order_at, l.last_order_at)
    is distinct from (b.orders, b.spent, b.first_order_at, b.last_order_at)
"""  # noqa: S608  # constants only


class Told(NamedTuple):
    """What a score knows of a fact."""

    customer_id: UUID
    type: str
    name: str
    event_id: UUID
    at: datetime


def told(sample: Sample) -> Told:
    return Told(
        sample.customer_id,
        EVENTS[sample.kind].type,
        _name(sample),
        sample.event_id,
        EPOCH + timedelta(milliseconds=sample.at_ms),
    )


def data_of(sample: Sample) -> str:
    """The JSON of the sample's event, 300 bytes, its personal part sealed with no key."""
    data: dict[str, object] = {
        "customer_id": str(sample.customer_id),
        "message_id": f"m{sample.number}",
        "source": "bench",
    }
    match sample.kind:
        case "order":
            data["order_id"] = f"o{sample.number}"
            data["total"] = {"amount": f"{sample.value / 100:.2f}", "currency": "EUR"}
        case "visit":
            data["group_id"] = f"g{sample.value}"
        case "click":
            pass
        case _:
            data["name"] = _name(sample)
    data["sealed"] = {str(sample.customer_id): ""}
    room = EVENT_BYTES - len(json.dumps(data, separators=(",", ":")))
    data["sealed"] = {str(sample.customer_id): (sample.note * 3)[: max(room, 16)]}
    return json.dumps(data, separators=(",", ":"))


async def hear(pool: asyncpg.Pool, events: Iterable[Sample]) -> None:
    """Put samples into the log, numbered per topic partition, 2,000 to a transaction."""
    sequences: dict[tuple[str, int], int] = defaultdict(int)
    partitions: dict[UUID, int] = {}

    def row(n: int, one: Sample) -> tuple[object, ...]:
        kind = EVENTS[one.kind].type
        topic = CONTRACT.by_type[kind]
        partition = partitions.get(one.customer_id)
        if partition is None:
            partition = partition_of(one.customer_id, topic.partitions)
            partitions[one.customer_id] = partition
        sequences[topic.name, partition] += 1
        return (
            n, kind, topic.name, partition, sequences[topic.name, partition], one.event_id,
            one.event_id, one.customer_id, EPOCH + timedelta(milliseconds=one.at_ms),
            EPOCH + timedelta(milliseconds=FIRST_AT_MS + one.number * STEP_MS), data_of(one),
        )  # fmt: skip

    async with pool.acquire() as connection:
        await connection.execute("set transaction_timeout = 0; set statement_timeout = 0")
        await connection.execute("set synchronous_commit = off")
        await connection.execute(STAGED)
        rows = (row(n, one) for n, one in enumerate(events))
        await connection.copy_records_to_table("staged", records=rows, timeout=300)
        await connection.execute("create index on staged (n); analyze staged", timeout=60)
        count = await connection.fetchval("select count(*) from staged")
        for first in range(0, count, CHUNK):
            await connection.execute(TAKE, first, first + CHUNK - 1)
        await connection.execute("drop table staged")
        await connection.execute("vacuum (analyze, freeze) log", timeout=300)
        await connection.execute("reset all")


class Score(NamedTuple):
    """What must have come of a customer's facts; sums at the model's landmark, as logarithms."""

    counted: int
    s: float | None
    s_negative: float | None


def expected(events: int, keys: Keys, model: ScoringModel) -> dict[UUID, Score]:
    """The oracle: caps by sorting, sums by adding; nothing of it is the product's."""
    days: dict[tuple[UUID, str, date], list[tuple[datetime, bytes]]] = defaultdict(list)
    sums: dict[UUID, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    kinds = {kind.name: kind for kind in model.kinds}
    for one in map(told, samples(events, keys=keys)):
        kind = next(
            kind
            for kind in model.kinds
            if kind.type == one.type and (kind.when is None or one.name in kind.when.one_of)
        )
        day = date.min if kind.cap_per_day is None else one.at.date()
        days[one.customer_id, kind.name, day].append((one.at, one.event_id.bytes))
    last = EPOCH + timedelta(milliseconds=FIRST_AT_MS + events * STEP_MS)
    rate = math.log(2) / (model.half_life_days * 86_400)
    for (customer_id, name, _), facts in days.items():
        kind = kinds[name]
        of_customer = sums[customer_id]
        for at, _ in sorted(facts)[: kind.cap_per_day]:
            of_customer[0] += 1
            worth = kind.weight * math.exp(rate * (at - last).total_seconds())
            of_customer[2 if kind.sign == "negative" else 1] += worth
    shift = rate * (last - model.landmark).total_seconds()
    return {
        customer_id: Score(int(counted), _log(positive, shift), _log(negative, shift))
        for customer_id, (counted, positive, negative) in sums.items()
    }


def expected_alike(
    facts: Iterable[tuple[UUID, datetime]], model: ScoringModel
) -> dict[UUID, Score]:
    """The oracle for purchases alone, which nothing caps."""
    weight, chosen = weight_of(model, OrderCompleted), list(facts)
    last = max(at for _, at in chosen)
    rate = math.log(2) / (model.half_life_days * 86_400)
    terms: dict[UUID, list[float]] = defaultdict(list)
    for customer_id, at in chosen:
        terms[customer_id].append(math.exp(rate * (at - last).total_seconds()))
    shift = rate * (last - model.landmark).total_seconds()
    return {
        customer_id: Score(len(each), _log(weight * math.fsum(each), shift), None)
        for customer_id, each in terms.items()
    }


def weight_of(model: ScoringModel, event: type[Event]) -> float:
    """What one of these events is worth in a model that counts all of them alike."""
    (kind,) = (kind for kind in model.kinds if kind.type == event.type)
    return kind.weight


async def as_expected(
    pool: asyncpg.Pool, model: ScoringModel, scores: Mapping[UUID, Score]
) -> bool:
    """Do all rows say what they must, and no other row is there?"""
    rows = await pool.fetch(
        "select customer_id, counted, s, s_negative from engagement where model_id = $1",
        model.model_id,
        timeout=60,
    )
    return len(rows) == len(scores) and all(
        row["counted"] == (score := scores[row["customer_id"]]).counted
        and _close(row["s"], score.s)
        and _close(row["s_negative"], score.s_negative)
        for row in rows
    )


async def as_bought(url: str) -> bool:
    """Has every customer the orders and the sum that the log's purchases come to, and no other?"""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(WRONGLY_BOUGHT) == 0
    finally:
        await connection.close()


def one_weight_per_kind() -> str:
    """The peers' model: each kind of event its weight, no cap, nothing looked into."""
    kinds: Sequence[dict[str, object]] = [
        {"name": kind, "type": event.type, "weight": weight, "why": "It is one of six."}
        for weight, (kind, event) in enumerate(EVENTS.items(), start=1)
    ]
    return json.dumps(
        {
            "name": "plain", "version": 1, "landmark": "2025-01-01T00:00:00Z",
            "half_life_days": 30, "kinds": kinds,
        }
    )  # fmt: skip


def _name(sample: Sample) -> str:
    return TRACKED[sample.value % len(TRACKED)] if sample.kind == "track" else "Home"


def _log(worth: float, shift: float) -> float | None:
    return math.log(worth) + shift if worth else None


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9)
