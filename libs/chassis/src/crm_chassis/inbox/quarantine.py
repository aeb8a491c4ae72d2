"""Records in quarantine as an operator sees them: shown, tried again by this release, or given up.

A row of the log stands in the place of each; it becomes what the record says once that can be read.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import ConsumerRecord

from crm_chassis.inbox.rows import Row, hear, row_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

DISCARDED: Final = "crm.discarded"
"""The type of a row whose record was given up: no model folds it, and nothing waits behind it."""

LIST: Final = """
select q.topic, q.partition, q.sequence, q.event_id, q.kafka_offset, q.reason, q.at, l.partition_key
from quarantine q join log l using (topic, partition, sequence)
where $1::text is null or (q.topic, q.partition, q.sequence) = ($1, $2::int, $3::bigint)
order by l.epoch, l.xid, l.gp
"""
KEPT: Final = """
select key, value, headers::text as headers, kafka_offset from quarantine
where topic = $1 and partition = $2 and sequence = $3
"""
# Times and ids come from the record: what stands in the log was made up where it was unreadable.
BECOME: Final = """
with freed as (
    delete from quarantine where topic = $1 and partition = $2 and sequence = $3 returning 1
), told as (
    insert into deed (by, what, about, outcome) select $4, 'quarantine retry', $5, $6 from freed
)
update log l set type = $7, event_id = $8::text::uuid, stream_id = $9::text::uuid,
    version = $10::text::int, schema_version = $11::text::int, partition_key = $12::text::uuid,
    occurred_at = $13::text::timestamptz, recorded_at = $14::text::timestamptz,
    data = $15::text::json, meta = $16::text::json
from freed where l.topic = $1 and l.partition = $2 and l.sequence = $3
returning 1
"""
GIVE_UP: Final = """
with freed as (
    delete from quarantine where topic = $1 and partition = $2 and sequence = $3 returning 1
), told as (
    insert into deed (by, what, about, outcome)
    select $4, 'quarantine discard', $5, 'it is passed over' from freed
)
update log l set type = $6 from freed
where l.topic = $1 and l.partition = $2 and l.sequence = $3
returning 1
"""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that was kept aside; `partition_key` names whose events wait behind it."""

    topic: str
    partition: int
    sequence: int
    event_id: UUID
    kafka_offset: int
    reason: str
    at: datetime
    partition_key: UUID

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.partition}/{self.sequence}"

    @property
    def place(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.sequence


class NoSuchRecordError(Exception):
    """No record of this name is in quarantine."""


async def list_quarantined(pool: asyncpg.Pool) -> list[Quarantined]:
    """All that is kept aside, in the order of the log."""
    return [_shown(row) for row in await pool.fetch(LIST, None, None, None)]


async def find_quarantined(pool: asyncpg.Pool, name: str) -> Quarantined:
    """The record of a name, `topic/partition/number`.

    Raises NoSuchRecordError.
    """
    parts = name.split("/")
    if len(parts) == len(("topic", "partition", "number")) and all(p.isdigit() for p in parts[1:]):
        for row in await pool.fetch(LIST, parts[0], int(parts[1]), int(parts[2])):
            return _shown(row)
    raise NoSuchRecordError(f"nothing is kept aside under {name}")


async def retry(pool: asyncpg.Pool, kept: Quarantined, *, by: str, dry_run: bool) -> str | None:
    """Read the record with this release; why that fails, or None: its row is now what it says.

    Raises NoSuchRecordError.
    """
    row = await pool.fetchrow(KEPT, *kept.place)
    if row is None:
        raise NoSuchRecordError(f"{kept.name} is not kept aside any more")
    record = _record(kept, row)
    read = row_of(hear(record))
    if not isinstance(read, Row):
        return read.reason
    if not dry_run:
        e = read.envelope
        outcome = f"it is {e.type} version {e.schema_version}"
        await pool.execute(
            BECOME, *kept.place, by, kept.name, outcome, e.type, e.event_id, e.stream_id, e.version,
            e.schema_version, e.partition_key, e.occurred_at, e.recorded_at, read.data, e.meta,
        )  # fmt: skip
    return None


async def discard(pool: asyncpg.Pool, kept: Quarantined, *, by: str) -> None:
    """Give a record up: its row is folded by nobody, and nothing waits behind it any more."""
    await pool.execute(GIVE_UP, *kept.place, by, kept.name, DISCARDED)


def _shown(row: asyncpg.Record) -> Quarantined:
    return Quarantined(**dict(row.items()))


def _record(kept: Quarantined, row: asyncpg.Record) -> ConsumerRecord[bytes, bytes]:
    """The record as it was polled, of what was kept of it."""
    headers: list[tuple[str, bytes | None]] = []
    for name, text, *coded in orjson.loads(row["headers"]):
        content: Any = base64.b64decode(coded[0]) if coded else text
        headers.append((name, content.encode() if isinstance(content, str) else content))
    return ConsumerRecord(
        topic=kept.topic,
        partition=kept.partition,
        offset=kept.kafka_offset,
        timestamp=0,
        timestamp_type=0,
        key=row["key"],
        value=row["value"],
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=headers,
    )
