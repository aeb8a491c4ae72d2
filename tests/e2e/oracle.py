"""Numbered purchases from a seeded generator, and what must have become of them."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from crm_events.topics import HEARD_BY
from crm_stack.stack import Stack
from system import System

ORDER_ID = re.compile(r"c[0-9]{3}-")
CUSTOMERS = 60
SENDERS = 6
BATCH = 10
RETRY_SECONDS = 0.2
GIVE_UP_SECONDS = 90.0
HEARD = [topic.name for topic in HEARD_BY["analytics"] if topic.publisher == "contacts"]


@dataclass
class Oracle:
    """Sends purchases as an SDK would (again until 200, under the same ids), and remembers them.

    A customer belongs to one sender, and a sender waits for each answer: so the numbers of a
    customer are accepted in order, and the n-th purchase of a customer carries `<customer>-<n>`.
    """

    seed: int
    collector: str
    write_key: str
    accepted: dict[str, list[Decimal]] = field(default_factory=lambda: defaultdict(list))
    resent: int = 0
    _begun: dict[int, Iterator[dict[str, Any]]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(len(totals) for totals in self.accepted.values())

    async def send(self, stop: asyncio.Event, *, per_second: float) -> None:
        """Send at about this rate until `stop`; every batch that was begun is seen through."""
        async with httpx.AsyncClient(timeout=5) as client, asyncio.TaskGroup() as tasks:
            for sender in range(SENDERS):
                tasks.create_task(self._send_as(sender, client, stop, per_second / SENDERS))

    async def _send_as(
        self, sender: int, client: httpx.AsyncClient, stop: asyncio.Event, per_second: float
    ) -> None:
        purchases = self._begun.setdefault(sender, self._purchases(sender))
        while not stop.is_set():
            batch = [next(purchases) for _ in range(BATCH)]
            began = asyncio.get_running_loop().time()
            await self._deliver(client, batch)
            for message in batch:
                self.accepted[message["userId"]].append(Decimal(message["properties"]["total"]))
            spent = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(0.0, BATCH / per_second - spent))

    def _purchases(self, sender: int) -> Iterator[dict[str, Any]]:
        rng = random.Random(f"{self.seed}-{sender}")  # noqa: S311  # a repeatable load, no secret
        counts: Counter[str] = Counter()
        mine = [f"c{n:03d}" for n in range(CUSTOMERS) if n % SENDERS == sender]
        while True:
            customer = rng.choice(mine)
            counts[customer] += 1
            number = counts[customer]
            yield {
                "type": "track",
                "event": "Order Completed",
                "messageId": f"{self.seed}-{customer}-{number}",
                "userId": customer,
                "timestamp": datetime(2026, 10, 1 + number % 30, 12, tzinfo=UTC).isoformat(),
                "properties": {
                    "order_id": f"{customer}-{number}",
                    "total": str(Decimal(rng.randrange(100, 20_000)) / 100),
                    "currency": "EUR",
                },
            }

    async def _deliver(self, client: httpx.AsyncClient, batch: list[dict[str, Any]]) -> None:
        body = orjson.dumps({"batch": batch, "writeKey": self.write_key})
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while True:
                try:
                    answer = await client.post(f"{self.collector}/v1/batch", content=body)
                except httpx.TransportError:
                    pass
                else:
                    if answer.status_code == 200:
                        assert answer.json() == {"success": True}
                        return
                    assert answer.status_code == 503, answer.text
                self.resent += 1
                await asyncio.sleep(RETRY_SECONDS)


@dataclass(frozen=True)
class Verdict:
    """What was found beside what had to be. All but `accepted` must be 0."""

    accepted: int
    lost: int
    doubled: int
    misordered: int
    wrong_sums: int
    gaps: int  # missing or repeated-with-another-event numbers among first occurrences
    holding: int
    quarantined: int

    @property
    def clean(self) -> bool:
        return not any(
            (self.lost, self.doubled, self.misordered, self.wrong_sums, self.gaps, self.holding,
             self.quarantined)
        )  # fmt: skip


async def judge(oracle: Oracle, system: System) -> Verdict:
    """Compare both logs, the topic and the read model with what was accepted."""
    contacts, analytics = await system.database("contacts"), await system.database("analytics")
    try:
        return await _judged(oracle, system.stack, contacts, analytics)
    finally:
        await contacts.close()
        await analytics.close()


async def settled(system: System, *, within_seconds: float = 120) -> None:
    """Wait until analytics has heard and folded all that contacts decided."""
    contacts, analytics = await system.database("contacts"), await system.database("analytics")
    try:
        async with asyncio.timeout(within_seconds):
            while not await _level(contacts, analytics):
                await asyncio.sleep(0.1)
    finally:
        await contacts.close()
        await analytics.close()


async def _level(contacts: asyncpg.Connection, analytics: asyncpg.Connection) -> bool:
    owed = await contacts.fetchval("""
        select count(*) from log l, relay_position p
        where p.name = 'main' and l.sequence is null and l.topic is not null
          and (l.epoch, l.xid, l.gp) > (p.epoch, p.xid, p.gp)""")
    # Neither of members, whom analytics does not hear, nor of what others publish.
    sent = "select topic, partition, sequence from relay_sequence where topic = any($1)"
    heard = "select topic, partition, sequence from inbox_mark where topic = any($1)"
    behind = await analytics.fetchval("""
        select count(*) from projection_checkpoint c, lateral (
            select 1 from log l where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp) limit 1) x""")
    numbers = {tuple(row) for row in await contacts.fetch(sent, HEARD) if row["sequence"]}
    return (
        owed == 0
        and behind == 0
        and numbers
        == {tuple(row) for row in await analytics.fetch(heard, HEARD) if row["sequence"]}
    )


async def _judged(
    oracle: Oracle, stack: Stack, contacts: asyncpg.Connection, analytics: asyncpg.Connection
) -> Verdict:
    orders = """
        select data->>'order_id' as order_id, partition_key::text as customer_id from log
        where type = 'contacts.purchase.completed' and data->>'order_id' ~ '^c[0-9]{3}-'
        order by epoch, xid, gp"""
    own, heard = await contacts.fetch(orders), await analytics.fetch(orders)
    first, gaps = await _first_occurrences(stack.kafka.bootstrap)
    expected = {
        f"{customer}-{number}"
        for customer, totals in oracle.accepted.items()
        for number in range(1, len(totals) + 1)
    }
    places = [[row["order_id"] for row in own], [row["order_id"] for row in heard], first]
    customer_ids = {row["order_id"].split("-")[0]: row["customer_id"] for row in own}
    money = await analytics.fetch(
        "select customer_id::text, orders, spent from buying where currency = 'EUR'"
    )
    bought = {row["customer_id"]: (row["orders"], row["spent"]) for row in money}
    return Verdict(
        accepted=oracle.count,
        lost=sum(len(expected - set(place)) for place in places),
        doubled=sum(len(place) - len(set(place)) for place in places),
        misordered=sum(_misordered(place) for place in places),
        wrong_sums=sum(
            bought.get(customer_ids[customer]) != (len(totals), sum(totals))
            for customer, totals in oracle.accepted.items()
        ),
        gaps=gaps,
        holding=0 if len(heard) == len(own) else 1,
        quarantined=await analytics.fetchval("select count(*) from quarantine"),
    )


def _misordered(order_ids: list[str]) -> int:
    """How many purchases stand behind a later one of the same customer."""
    last: Counter[str] = Counter()
    wrong = 0
    for order_id in order_ids:
        customer, number = order_id.split("-")
        wrong += int(number) < last[customer]
        last[customer] = max(last[customer], int(number))
    return wrong


async def _first_occurrences(bootstrap: str) -> tuple[list[str], int]:
    """Order ids on contacts.purchases as a reader that drops repeats takes them, and its gaps."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition("contacts.purchases", n) for n in range(12)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        order_ids: list[str] = []
        taken: dict[int, dict[int, bytes]] = {n: {} for n in range(12)}
        gaps = 0
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                known = taken[partition.partition]
                for record in records:
                    headers = dict(record.headers)
                    number, event_id = int(headers["ce_sequence"]), headers["ce_id"]
                    if number <= len(known):
                        gaps += known[number] != event_id
                    elif number == len(known) + 1:
                        known[number] = event_id
                        order_id = orjson.loads(record.value)["order_id"]
                        if ORDER_ID.match(order_id):
                            order_ids.append(order_id)
                    else:
                        gaps += 1
        return order_ids, gaps
    finally:
        await consumer.stop()
