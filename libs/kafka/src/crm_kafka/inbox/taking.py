"""Writing what was heard: one statement moves the marks and inserts the rows, or does nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from aiokafka import TopicPartition
from asyncpg import PostgresError
from crm_store import metrics
from crm_store.errors import LOST, is_refused_value, sqlstate

from crm_kafka.inbox.admission import Mark
from crm_kafka.inbox.rows import SEPARATOR, Aside, Row, row_of, set_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import asyncpg
    from aiokafka import ConsumerRecord

    from crm_kafka.inbox.rows import Heard

REFUSED_CLASSES: Final = ("22", "54")
"""SQLSTATE classes of a value that PostgreSQL does not take: data, and program limits."""

# The marks move first: `guard` is read before the first row comes out. A mark that another member
# moved, or that is about to be moved by another, fails the comparison and so the statement.
# Nobody waits for the disk: what PostgreSQL forgets in a crash is forgotten with its marks, and
# Kafka has it. Whatever is decided on it commits later in the same WAL.
TAKE: Final = """
with moved as (
    update inbox_mark m
    set sequence = u.sequence, event_id = u.event_id, kafka_offset = u.kafka_offset,
        news_after = coalesce(
            m.news_after, u.news_after,
            case when m.kafka_offset >= m.history_until then m.sequence end)
    from unnest($1::text[], $2::int[], $3::bigint[], $4::text[]::uuid[], $5::bigint[],
                $6::text[]::uuid[], $7::bigint[], $32::bigint[])
        as u(topic, partition, from_sequence, from_event_id, sequence, event_id, kafka_offset,
             news_after)
    where m.topic = u.topic and m.partition = u.partition
      and m.sequence = u.from_sequence and m.event_id is not distinct from u.from_event_id
    returning 1
),
guard as materialized (
    select open_epoch(null) as epoch, set_config('synchronous_commit', 'off', true)
    where assert_moved((select count(*) from moved), cardinality($1))
),
kept as (
    insert into quarantine (topic, partition, sequence, event_id, kafka_offset, key, value,
                            headers, reason)
    select unnest($8::text[]), unnest($9::int[]), unnest($10::bigint[]),
           unnest($11::text[]::uuid[]), unnest($12::bigint[]), unnest($13::bytea[]),
           unnest($14::bytea[]), unnest($15::text[])::jsonb, unnest($16::text[])
    from guard
)
insert into log (heard_at, epoch, topic, type, partition, sequence, event_id, stream_id, version,
                 schema_version, partition_key, occurred_at, recorded_at, data, meta)
select now(), guard.epoch,
       ($17::text[])[unnest($19::text::int[])], ($18::text[])[unnest($20::text::int[])],
       unnest($21::text::int[]), unnest($22::text::bigint[]),
       unnest(string_to_array($23, ','))::uuid, unnest(string_to_array($24, ','))::uuid,
       unnest($25::text::int[]), unnest($26::text::int[]),
       unnest(string_to_array($27, ','))::uuid, unnest($28::text::timestamptz[]),
       unnest($29::text::timestamptz[]), unnest(string_to_array($30, E'\\x1e'))::json,
       unnest(string_to_array($31, E'\\x1e', ''))::json
from guard
"""

ASIDE_COLUMNS: Final = 9
MOST_CHARACTERS: Final = 4 * 1024 * 1024  # of JSON in one statement

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """Records to take, in order, and the marks they were decided on, by partition.

    `characters` are those of their JSON, `arguments` the statement's where they are made already.
    """

    records: list[ConsumerRecord[bytes, bytes]] = field(default_factory=list)
    rows: list[Row | Aside] = field(default_factory=list)
    before: dict[TopicPartition, Mark] = field(default_factory=dict)
    last: dict[TopicPartition, Row] = field(default_factory=dict)
    characters: int = 0
    arguments: tuple[Any, ...] | None = None

    @classmethod
    def of(
        cls,
        records: Sequence[ConsumerRecord[bytes, bytes]],
        rows: Sequence[Row | Aside],
        before: Mapping[TopicPartition, Mark],
    ) -> Self:
        """Records that were decided on `before`."""
        last = {TopicPartition(row.topic, row.partition): row for row in map(_row, rows)}
        return cls(list(records), list(rows), dict(before), last, _characters(rows))

    def add(self, tp: TopicPartition, mark: Mark, taken: Sequence[Heard]) -> None:
        """Records of one partition, at least one, that were decided on `mark`."""
        self.before.setdefault(tp, mark)
        self.records.extend(each.record for each in taken)
        rows = [row_of(each) for each in taken]
        self.rows.extend(rows)
        self.characters += _characters(rows)
        self.last[tp] = _row(self.rows[-1])

    def split(self) -> tuple[Batch, Batch]:
        """Two halves, the second decided on the marks that the first leaves."""
        middle = len(self.rows) // 2
        first = Batch.of(self.records[:middle], self.rows[:middle], self.before)
        between = {**self.before, **first.after()}
        return first, Batch.of(self.records[middle:], self.rows[middle:], between)

    @property
    def full(self) -> bool:
        """Has it as much JSON as one statement takes?"""
        return self.characters >= MOST_CHARACTERS

    def asides(self) -> list[Aside]:
        """What the log cannot hold."""
        return [row for row in self.rows if isinstance(row, Aside)]

    def after(self) -> dict[TopicPartition, Mark]:
        """The marks of this batch's partitions when it is written."""
        return {
            tp: Mark(
                row.envelope.sequence,
                row.envelope.event_id,
                row.offset,
                self.before[tp].history_until,
            )
            for tp, row in self.last.items()
        }

    def recorded(self) -> dict[TopicPartition, str]:
        """When the publisher recorded the last of this batch, by partition, ISO 8601."""
        return {tp: row.envelope.recorded_at for tp, row in self.last.items()}

    def news_after(self, tp: TopicPartition) -> int | None:
        """The number behind which news begins, where it does within these rows."""
        before = self.before[tp]
        if before.offset >= before.history_until:
            return None
        news = (
            row.envelope.sequence - 1
            for row in map(_row, self.rows)
            if (row.topic, row.partition) == tp and row.offset >= before.history_until
        )
        return next(news, None)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was written: how many records, and how long the longest statement took."""

    records: int
    longest_s: float


def is_lost(error: BaseException) -> bool:
    """Did a mark differ from the one in memory? Then nothing was written."""
    return sqlstate(error) == LOST


async def take(pool: asyncpg.Pool, batch: Batch) -> Taken:
    """Write a batch, each record once; what PostgreSQL refuses goes aside with its bytes.

    Raises what `is_lost` tells, and what the server raises. Halves of a refused batch that were
    written before an error stay written: read the marks again after any error.
    """
    if len(batch.rows) > 1 and batch.characters > MOST_CHARACTERS:
        return await _take_halves(pool, batch)
    arguments = batch.arguments or arguments_of(batch)
    began = time.perf_counter()
    try:
        await pool.execute(TAKE, *arguments)
    except (PostgresError, ValueError) as error:
        if not is_refused_value(error, REFUSED_CLASSES):
            raise
        return await _take_refused(pool, batch, error)
    taken = Taken(len(batch.rows), time.perf_counter() - began)
    metrics.INBOX_BATCH_RECORDS.observe(taken.records)
    for aside in batch.asides():
        row, reason = aside.row, aside.reason
        metrics.INBOX_RECORDS.labels(topic=row.topic, outcome="quarantined").inc()
        _logger.error(
            "inbox.quarantined", topic=row.topic, partition=row.partition, offset=row.offset,
            reason=reason,
        )  # fmt: skip
    return taken


def taken_of(row: Row | Aside) -> tuple[str, str, str, str | None]:
    """Topic, type, id and `meta` of what was taken."""
    place = _row(row)
    return place.topic, place.envelope.type, place.envelope.event_id, place.envelope.meta


async def _take_refused(pool: asyncpg.Pool, batch: Batch, error: Exception) -> Taken:
    if len(batch.rows) == 1:
        if isinstance(batch.rows[0], Aside):
            raise error
        reason = f"PostgreSQL refuses it: {sqlstate(error) or type(error).__name__}"
        aside = set_aside(batch.records[0], reason)
        return await take(pool, Batch.of(batch.records, [aside], batch.before))
    return await _take_halves(pool, batch)


async def _take_halves(pool: asyncpg.Pool, batch: Batch) -> Taken:
    parts = [await take(pool, half) for half in batch.split()]
    return Taken(
        sum(part.records for part in parts),
        max(part.longest_s for part in parts),
    )


def _row(row: Row | Aside) -> Row:
    return row.row if isinstance(row, Aside) else row


def _characters(rows: Iterable[Row | Aside]) -> int:
    return sum(len(_row(row).data) for row in rows)


def arguments_of(batch: Batch) -> tuple[Any, ...]:
    """What the statement is given to take a batch of at least one row."""
    marks = [
        (
            tp.topic, tp.partition, before.sequence, before.event_id,
            mark.sequence, mark.event_id, mark.offset, batch.news_after(tp),
        )
        for tp, mark in sorted(batch.after().items())
        for before in (batch.before[tp],)
    ]  # fmt: skip
    kept = [
        (
            row.topic, row.partition, row.envelope.sequence, row.envelope.event_id, row.offset,
            aside.key, aside.value, aside.headers, aside.reason,
        )
        for aside in batch.asides()
        for row in (aside.row,)
    ]  # fmt: skip
    *moves, news_after = zip(*marks, strict=True)
    return (*moves, *_columns(kept, ASIDE_COLUMNS), *_log_columns(batch.rows), news_after)


def _columns(rows: Sequence[Sequence[Any]], width: int) -> tuple[Sequence[Any], ...]:
    return tuple(zip(*rows, strict=True)) if rows else ((),) * width


def _log_columns(rows: Sequence[Row | Aside]) -> tuple[Any, ...]:
    """The rows as one text per column: the driver takes longer for each element of an array."""
    topics, partitions, _, envelopes, data = zip(*map(_row, rows), strict=True)
    sequences, event_ids, streams, versions, types, schemas, keys, occurred, recorded, meta = zip(
        *envelopes, strict=True
    )
    known_topics, topic_numbers = _numbered(topics)
    known_types, type_numbers = _numbered(types)
    return (
        known_topics, known_types, _literal(topic_numbers), _literal(type_numbers),
        _literal(map(str, partitions)), _literal(map(str, sequences)),
        ",".join(event_ids), ",".join(streams), _literal(versions), _literal(schemas),
        ",".join(keys), _literal(occurred), _literal(recorded),
        SEPARATOR.join(data), SEPARATOR.join([each or "" for each in meta]),
    )  # fmt: skip


def _numbered(names: Sequence[str]) -> tuple[list[str], Iterable[str]]:
    """The distinct names, and for each name its place among them, from 1 on."""
    places = {name: str(place) for place, name in enumerate(dict.fromkeys(names), start=1)}
    return list(places), map(places.__getitem__, names)


def _literal(elements: Iterable[str]) -> str:
    """An array of numbers or instants as PostgreSQL reads it; none of them needs quotes."""
    return "{" + ",".join(elements) + "}"
