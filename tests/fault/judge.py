"""Holds every log, topic and projection against what was acknowledged, round after round."""

from __future__ import annotations

import json
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.fault import fold
from tests.fault.copies import START, Bearers, Copies, Counts, Published, compare_keys, lost
from tests.fault.fold import Scored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.fault.load import Sent
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
            await self._compare_scores(contacts, counts)
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
            place = (row["topic"], row["partition"])
            published = self._published[publisher]
            copies.take(place, row["sequence"], row["event_id"], published, counts)
        copies.missing(self._published[publisher], counts)
        for place, events in self._published[publisher].events.items():
            behind = copies.taken[place] < len(events)
            counts.found("stuck", int(behind), f"{place[0]}/{place[1]} in {listener}")

    async def _read_topics(self, counts: Counts) -> None:
        """First occurrences by number, as a reader that drops repeats takes them."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._world.kafka.bootstrap, enable_auto_commit=False
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
        unfolded = """
            select coalesce(max(n), 0) from projection_checkpoint c, lateral (
                select count(*) as n from log l
                where (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp)) x"""
        for service, connection in by_name.items():
            count = await connection.fetchval(unfolded)
            counts.found("unseen", count, f"{count} rows of {service} not folded in time")
        if not counts.unseen:
            counts.found("unseen", 1, "not level within 60 s of the heal")

    async def _count_kept_aside(self, connections: Iterable[Any], counts: Counts) -> None:
        kept = 0
        for connection in connections:
            kept += await connection.fetchval("select count(*) from quarantine")
        beyond = kept - self._world.notes.quarantined
        counts.found("quarantined", abs(beyond), f"{kept} kept aside")

    # --- projections ----------------------------------------------------------------------

    async def _compare_contacts(self, connection: Any, counts: Counts) -> None:
        """timeline: an entry per event; directory: a row per person, linked and as was told."""
        lacking = await connection.fetchval(
            """
            select count(*) from log l
            where l.sequence is null and l.topic is not null and l.type <> all($1::text[])
            and not exists (select from timeline_entry t where t.event_id = l.event_id)""",
            self._world.notes.unknown_types,
        )
        counts.found("wrong_rows", lacking, f"{lacking} events are in no timeline")
        more = await connection.fetchval(
            """
            select (select count(*) from timeline_entry)
                 - (select count(*) from log where sequence is null and topic is not null
                    and type <> all($1::text[]))""",
            self._world.notes.unknown_types,
        )
        counts.found("wrong_rows", max(0, more), f"{more} timeline entries too many")
        registered = await connection.fetchval(
            "select count(*) from log where type = 'contacts.person.registered'"
        )
        people = await connection.fetchval("select count(*) from person")
        counts.found("wrong_rows", abs(registered - people), f"{people} of {registered} people")
        rows = await connection.fetch(PEOPLE)
        self._compare_plans({row["customer_id"]: row["plan"] for row in rows}, counts)
        linked = {row["customer_id"]: row["linked_into"] for row in rows if row["linked_into"]}
        self._compare_links(linked, "directory", counts)

    async def _compare_analytics(self, connection: Any, counts: Counts) -> None:
        links = await connection.fetch("select customer_id, into_id from link where linked")
        self._compare_links({row[0]: row[1] for row in links}, "links", counts)
        found = {
            row["customer_id"]: fold.Bought(
                row["orders"], row["spent"], row["refunds"], row["refunded"]
            )
            for row in await connection.fetch("select * from buying where currency = 'EUR'")
        }
        for bearer, facts in self._world.load.accepted.items():
            there = found.get(self._bearers.customer.get(bearer))
            right = fold.bought(facts)
            counts.found("wrong_rows", int(there != right), f"buying of {bearer}: {there}, {right}")
        sums = await connection.fetch("select customer_id, s, s_negative, counted from engagement")
        self._compare_sums(sums, "engagement", counts)
        self._compare_standings(
            await connection.fetch("select customer_id, s_net, members from standing"), counts
        )

    async def _compare_scores(self, contacts: Any, counts: Counts) -> None:
        rows = await contacts.fetch("select customer_id, s, s_negative, counted from score")
        self._compare_sums(rows, "contacts' scores", counts)

    def _compare_plans(self, found: dict[UUID, str | None], counts: Counts) -> None:
        """A profile says what was told last of whoever told anything."""
        for bearer, facts in self._world.load.accepted.items():
            right = fold.plan(facts)
            there = found.get(self._bearers.customer.get(bearer))
            counts.found("wrong_rows", int(there != right), f"plan of {bearer}: {there}, {right}")

    def _compare_links(self, found: dict[UUID, UUID], where: str, counts: Counts) -> None:
        customer = self._bearers.customer
        right = {
            customer.get(visitor): customer.get(user) for visitor, user in self._world.load.links
        }
        wrong = len(right.items() ^ found.items())
        counts.found("wrong_rows", wrong, f"{len(found)} links in {where}, {len(right)} were told")

    def _compare_sums(self, rows: Sequence[Any], where: str, counts: Counts) -> None:
        found = {row["customer_id"]: (row["s"], row["s_negative"], row["counted"]) for row in rows}
        for bearer, right in self._scores().items():
            there = found.get(self._bearers.customer.get(bearer))
            agrees = there is not None and right.agrees(*there)
            counts.found("wrong_rows", int(not agrees), f"{where} of {bearer}: {there}, {right}")

    def _compare_standings(self, rows: Sequence[Any], counts: Counts) -> None:
        customer = self._bearers.customer
        scores = self._scores()
        groups: dict[str, list[str]] = {user: [user] for user in scores if "v" not in user}
        joined = dict(self._world.load.links)
        for bearer in scores:
            groups.setdefault(joined.get(bearer, bearer), []).extend(
                [bearer] if "v" in bearer and bearer in joined else []
            )
        found = {row["customer_id"]: (row["s_net"], row["members"]) for row in rows}
        for root, members in groups.items():
            right = fold.net(scores[one] for one in members or [root])
            there = found.get(customer.get(root), (None, 0))
            count = 0 if right is None else len(members or [root])
            agrees = fold.close(there[0], right) and there[1] == count
            said = f"standing of {root}: {there}, {(right, count)}"
            counts.found("wrong_rows", int(not agrees), said)

    def _scores(self) -> dict[str, Scored]:
        def recorded_at(fact: Sent) -> datetime:
            return self._bearers.recorded_at.get((fact.bearer, fact.number), fact.at)

        return {
            bearer: fold.scored(facts, self._model, recorded_at)
            for bearer, facts in self._world.load.accepted.items()
        }


async def _rows(connection: Any, sql: str, after: tuple[int, int, int]) -> Any:
    """Rows behind a position, without having all of them in memory."""
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(sql, after[0], str(after[1]), after[2], prefetch=2_000):
            yield row
