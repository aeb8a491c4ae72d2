"""Holds every log, topic and projection against what was acknowledged, round after round."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.fault import fold
from tests.fault.copies import START, Bearers, Copies, Counts, Published, compare_keys, lost
from tests.fault.models import (
    Expected,
    Scores,
    compare_people,
    compare_timeline,
    kept_aside,
    unseen,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.fault.world import World

PUBLISHES: Final = {
    "contacts": ("contacts.people", "contacts.activity", "contacts.purchases"),
    "analytics": ("analytics.scores",),
}
PARTITIONS: Final = 12

KEYS: Final = "select key_id, kek_id, wrapped, destroyed from subject_key"
PEOPLE: Final = "select customer_id, linked_into, profile->>'plan' as plan from person"
OWN: Final = """
select l.epoch, l.xid::text as xid, l.gp, l.topic, l.partition, l.event_id, l.type, l.partition_key,
       l.recorded_at, l.data->>'message_id' as message_id
from log l where l.sequence is null and l.topic is not null
  and (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
order by l.epoch, l.xid, l.gp
"""
HEARD: Final = """
select l.epoch, l.xid::text as xid, l.gp, l.topic, l.partition, l.sequence, l.event_id
from log l where l.sequence is not null
  and (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
order by l.epoch, l.xid, l.gp
"""
UNFOLDED: Final = """
select coalesce(max(n), 0) from projection_checkpoint c, lateral (
    select count(*) as n from log l where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp)) x
"""
# Events that belong in a timeline, its entries, and how many of the events have none; but of those
# whom sales sells to.
TIMELINE: Final = """
with own as materialized (
    select l.event_id from log l
    where l.sequence is null and l.topic is not null and l.type <> all($1::text[])
      and l.partition_key <> all($2::uuid[]))
select (select count(*) from own),
       (select count(*) from timeline_entry where customer_id <> all($2::uuid[])),
       (select count(*) from own where not exists (
           select from timeline_entry t where t.event_id = own.event_id))
"""
REGISTERED: Final = """
select (select count(*) from log where type = 'contacts.person.registered'),
       (select count(*) from person)
"""
SCORE: Final = "select customer_id, s, s_negative, counted from score"
ENGAGEMENT: Final = "select customer_id, s, s_negative, counted from engagement"
STANDING: Final = "select customer_id, s_net, members from standing"
# Nobody bought in another currency: such a row would come last, in the place of the right one.
BUYING: Final = """
select customer_id, orders, spent, refunds, refunded from buying order by currency = 'EUR' desc
"""


class Judge:
    """Keeps what it has read, so that a round costs what came in it."""

    def __init__(self, world: World) -> None:
        self._world = world
        model = resources.files("analytics.engagement") / "models" / "engagement.v2.json"
        self._model = json.loads(model.read_text())
        self._topics = Copies("Kafka")
        self.forget()

    def forget(self) -> None:
        """Read the logs anew next time: they were put back. Kafka was not."""
        self._scores = Scores(self._model)
        self._published = {service: Published() for service in PUBLISHES}
        self._bearers = Bearers()
        self._heard = {service: Copies(f"{service}' log") for service in PUBLISHES}
        self._heard_to = dict.fromkeys(PUBLISHES, START)

    async def verdict(self, *, level: bool) -> Counts:
        """Judge all that was acknowledged so far. `level`: everything had come through in time."""
        counts = Counts()
        world = self._world
        async with world.database("contacts") as contacts, world.database("analytics") as other:
            by_name = {"contacts": contacts, "analytics": other}
            for service, connection in by_name.items():
                await self._read_own(service, connection, counts)
            for listener, publisher in (("contacts", "analytics"), ("analytics", "contacts")):
                await self._read_heard(listener, publisher, by_name[listener], counts)
            await self._read_topics(counts)
            lost(world.load, self._bearers, counts)
            if not level:
                await self._count_unseen(by_name, counts)
            await self._count_kept_aside(by_name.values(), counts)
            await self._compare_contacts(contacts, counts)
            await self._compare_analytics(other, counts)
            kept = [set(map(tuple, await one.fetch(KEYS))) for one in (contacts, other)]
            compare_keys(*kept, counts)
        return counts

    async def _read_own(self, service: str, connection: Any, counts: Counts) -> None:
        published = self._published[service]
        async for row in _rows(connection, OWN, published.position):
            published.position = (row["epoch"], int(row["xid"]), row["gp"])
            if row["topic"] not in PUBLISHES[service]:
                continue  # nobody in the run hears it
            published.events[row["topic"], row["partition"]].append(row["event_id"])
            if row["event_id"] in published.known:
                counts.found("doubled", 1, f"event {row['event_id']} in {service}' own rows")
            published.known.add(row["event_id"])
            if row["message_id"] is not None and row["message_id"].startswith(
                f"{self._world.load.seed}-"
            ):
                self._bearers.take(row, counts)

    async def _read_heard(
        self, listener: str, publisher: str, connection: asyncpg.Connection, counts: Counts
    ) -> None:
        copies = self._heard[listener]
        async for row in _rows(connection, HEARD, self._heard_to[listener]):
            self._heard_to[listener] = (row["epoch"], int(row["xid"]), row["gp"])
            if row["topic"] not in PUBLISHES[publisher]:
                continue  # of sales, which its own faults judge
            place = (row["topic"], row["partition"])
            published = self._published[publisher]
            copies.take(place, row["sequence"], row["event_id"], published, counts)
        copies.missing(self._published[publisher], counts)
        copies.stuck(self._published[publisher], counts)

    async def _read_topics(self, counts: Counts) -> None:
        """First occurrences by number, as a reader that drops repeats takes them."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._world.bootstrap, enable_auto_commit=False
        )
        await consumer.start()
        try:
            places = [
                TopicPartition(topic, n)
                for topics in PUBLISHES.values()
                for topic in topics
                for n in range(PARTITIONS)
            ]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            firsts = await consumer.beginning_offsets(places)
            offsets, anew = self._world.notes.judged_to, self._world.notes.made_anew
            for place in places:
                known = 0 if place.topic in anew else offsets.get(place, 0)
                consumer.seek(place, max(known, firsts[place]))
            anew.clear()
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, records in (await consumer.getmany(timeout_ms=500)).items():
                    self._take_records(place, records, counts)
                    offsets[place] = records[-1].offset + 1
        finally:
            await consumer.stop()
        for published in self._published.values():
            self._topics.missing(published, counts)

    def _take_records(self, place: TopicPartition, records: Sequence[Any], counts: Counts) -> None:
        publisher = place.topic.partition(".")[0]
        for record in records:
            headers = dict(record.headers)
            digits = headers.get("ce_sequence") or b""
            if not digits.isdigit():
                continue
            event_id = UUID(headers["ce_id"].decode())
            published = self._published[publisher]
            self._topics.take_or_drop(tuple(place), int(digits), event_id, published, counts)

    async def _count_unseen(self, by_name: dict[str, Any], counts: Counts) -> None:
        """Rows that some projection had not folded 60 s after the heal."""
        behind = {name: await one.fetchval(UNFOLDED) for name, one in by_name.items()}
        unseen(behind, counts)

    async def _count_kept_aside(self, connections: Iterable[Any], counts: Counts) -> None:
        kept = [await one.fetchval("select count(*) from quarantine") for one in connections]
        kept_aside(kept, self._world.notes.quarantined, counts)

    # --- projections ----------------------------------------------------------------------

    def _expected(self) -> Expected:
        load = self._world.load
        return Expected(load, self._bearers, self._scores.of(load, self._bearers))

    async def _compare_contacts(self, connection: Any, counts: Counts) -> None:
        """timeline: an entry per event; directory: a row per person, linked and as was told."""
        expected = self._expected()
        notes = self._world.notes
        told = await connection.fetchrow(TIMELINE, notes.unknown_types, notes.sold_to)
        compare_timeline(*told, counts)
        compare_people(*await connection.fetchrow(REGISTERED), counts)
        rows = await connection.fetch(PEOPLE)
        expected.compare_plans({row["customer_id"]: row["plan"] for row in rows}, counts)
        linked = {row["customer_id"]: row["linked_into"] for row in rows if row["linked_into"]}
        expected.compare_links(linked, "directory", counts)
        scores = self._by_customer(await connection.fetch(SCORE))
        expected.compare_sums(scores, "contacts' score", counts)

    async def _compare_analytics(self, connection: Any, counts: Counts) -> None:
        expected = self._expected()
        links = await connection.fetch("select customer_id, into_id from link where linked")
        expected.compare_links({row[0]: row[1] for row in links}, "links", counts)
        bought = self._by_customer(await connection.fetch(BUYING))
        expected.compare_buying({who: fold.Bought(*row) for who, row in bought.items()}, counts)
        sums = self._by_customer(await connection.fetch(ENGAGEMENT))
        expected.compare_sums(sums, "engagement", counts)
        standings = self._by_customer(await connection.fetch(STANDING))
        expected.compare_standings(standings, counts)

    def _by_customer(self, rows: Iterable[Any]) -> dict[UUID, Any]:
        """The other columns of rows whose first is the customer; not of whom sales sells to."""
        sold_to = self._world.notes.sold_to
        return {row[0]: tuple(row)[1:] for row in rows if row[0] not in sold_to}


async def _rows(connection: Any, sql: str, after: tuple[int, int, int]) -> Any:
    """Rows behind a position, without having all of them in memory."""
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(sql, after[0], str(after[1]), after[2], prefetch=2_000):
            yield row
