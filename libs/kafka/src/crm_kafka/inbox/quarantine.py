"""Records in quarantine as an operator sees them: shown, tried again by this release, or given up.

A row of the log stands in the place of each; it becomes what the record says once that can be read.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import ConsumerRecord
from asyncpg import PostgresError
from crm_store.deeds import noted
from crm_store.errors import LOST, sqlstate
from crm_store.log.entries import Statement
from crm_store.log.statements import guarded

from crm_kafka.inbox.rows import Row, hear, row_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

NAME: Final = re.compile(r"([^/]+)/([0-9]{1,9})/([0-9]{1,18})", re.ASCII)
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
FREE: Final = "delete from quarantine where topic = $1 and partition = $2 and sequence = $3"
# Times and ids come from the record: what stands in the log was made up where it was unreadable.
BECOME: Final = """
update log l set type = $4, event_id = $5::text::uuid, stream_id = $6::text::uuid,
    version = $7::text::int, schema_version = $8::text::int, partition_key = $9::text::uuid,
    occurred_at = $10::text::timestamptz, recorded_at = $11::text::timestamptz,
    data = $12::text::json, meta = $13::text::json
where l.topic = $1 and l.partition = $2 and l.sequence = $3
"""
GIVE_UP: Final = "update log set type = $4 where topic = $1 and partition = $2 and sequence = $3"


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

    def __init__(self, name: str) -> None:
        super().__init__(f"nothing is kept aside under {name}")


async def list_quarantined(pool: asyncpg.Pool) -> list[Quarantined]:
    """All that is kept aside, in the order of the log."""
    return [_shown(row) for row in await pool.fetch(LIST, None, None, None)]


async def find_quarantined(pool: asyncpg.Pool, name: str) -> Quarantined:
    """The record of a name, `topic/partition/number`.

    Raises NoSuchRecordError.
    """
    if found := NAME.fullmatch(name):
        for row in await pool.fetch(LIST, found[1], int(found[2]), int(found[3])):
            return _shown(row)
    raise NoSuchRecordError(name)


async def retry(pool: asyncpg.Pool, kept: Quarantined, *, by: str, dry_run: bool) -> str | None:
    """Read the record with this release; why that fails, or None: its row is now what it says.

    Raises NoSuchRecordError.
    """
    row = await pool.fetchrow(KEPT, *kept.place)
    if row is None:
        raise NoSuchRecordError(kept.name)
    record = _record(kept, row)
    read = row_of(hear(record))
    if not isinstance(read, Row):
        return read.reason
    if not dry_run:
        e = read.envelope
        become = Statement(
            BECOME,
            (*kept.place, e.type, e.event_id, e.stream_id, e.version, e.schema_version,
             e.partition_key, e.occurred_at, e.recorded_at, read.data, e.meta),
        )  # fmt: skip
        outcome = f"it is {e.type} version {e.schema_version}"
        deed = noted(by=by, what="quarantine retry", about=kept.name, outcome=outcome)
        await _free(pool, kept, become, deed)
    return None


async def discard(pool: asyncpg.Pool, kept: Quarantined, *, by: str) -> None:
    """Give a record up: its row is folded by nobody, and nothing waits behind it any more.

    Raises NoSuchRecordError.
    """
    give_up = Statement(GIVE_UP, (*kept.place, DISCARDED))
    outcome = "it is passed over"
    deed = noted(by=by, what="quarantine discard", about=kept.name, outcome=outcome)
    await _free(pool, kept, give_up, deed)


async def _free(pool: asyncpg.Pool, kept: Quarantined, row: Statement, deed: Statement) -> None:
    """Take a record out, and say what its row becomes, unless somebody else was faster."""
    statement = guarded(Statement(FREE, kept.place), [row, deed])
    try:
        await pool.execute(statement.sql, *statement.args)
    except PostgresError as error:
        if sqlstate(error) != LOST:
            raise
        raise NoSuchRecordError(kept.name) from None


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
