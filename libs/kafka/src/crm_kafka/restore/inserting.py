"""Inserting records that came back from Kafka, some hundred in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncpg import UniqueViolationError
from crm_store.errors import LOST, sqlstate
from crm_store.log.logged import COLUMNS

from crm_kafka.inbox.rows import Aside, row_of
from crm_kafka.relay.progress import MAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from crm_store.log.entries import Reservation

    from crm_kafka.inbox.rows import Heard, Row
    from crm_kafka.restore.comparing import Comparison
    from crm_kafka.restore.reading import Place

ROWS_AT_ONCE: Final = 500
MOST_CHARACTERS: Final = 4 * 1024 * 1024
"""Of JSON in one transaction, or one record: each stays far below the sessions' time limit."""

# The relay's position moves behind the rows where it owes nothing before them, so that they are
# not sent again; its version moves in any case: of two that recover at once one loses.
INSERT: Final = f"""
with newest as materialized (
    select e.epoch from log_epoch e
    where e.epoch = $1 and e.epoch = (select max(epoch) from log_epoch) and e.settled_at is null
      and e.server_started_at = pg_postmaster_start_time() and e.table_oid = e.tableoid
), inserted as (
    insert into log (epoch, topic, partition, event_id, stream_id, version, type, schema_version,
                     partition_key, occurred_at, recorded_at, data, meta)
    select newest.epoch, u.topic, u.part, u.event_id::uuid, u.stream_id::uuid, u.version::int,
           u.type, u.schema_version::int, u.partition_key::uuid, u.occurred_at::timestamptz,
           u.recorded_at::timestamptz, u.data::json, u.meta::json
    from newest, unnest($2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
                        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
        with ordinality
        as u(topic, part, event_id, stream_id, version, type, schema_version, partition_key,
             occurred_at, recorded_at, data, meta, n)
    order by u.n
    returning gp, stream_id, version
), streams as (
    insert into stream as s (stream_id, version, last_epoch, last_xid)
    select stream_id, max(version), $1, pg_current_xact_id() from inserted group by stream_id
    on conflict (stream_id) do update
        set version = greatest(s.version, excluded.version),
            last_epoch = excluded.last_epoch, last_xid = excluded.last_xid
), told as (
    update log_epoch e set recovered = true where e.epoch = $1 and not e.recovered
), moved as (
    update relay_position p
    set version = p.version + 1,
        epoch = case when $14 then $1 else p.epoch end,
        xid = case when $14 then pg_current_xact_id() else p.xid end,
        gp = case when $14 then (select max(gp) from inserted) else p.gp end
    where p.name = '{MAIN}' and p.version = $15
    returning 1
), numbered as (
    insert into relay_sequence as s (topic, partition, sequence, kafka_offset)
    select u.* from moved, unnest($16::text[], $17::int[], $18::bigint[], $19::bigint[])
        as u(topic, partition, sequence, kafka_offset)
    where $14
    on conflict (topic, partition)
        do update set sequence = excluded.sequence, kafka_offset = excluded.kafka_offset
)
select assert_moved((select count(*) from moved), 1),
       assert_moved((select count(*) from inserted), cardinality($2))
"""  # noqa: S608  # constants only
INSERTED: Final = f"""
select {COLUMNS}, l.data from log l
where l.epoch = $1 and l.xid = pg_current_xact_id() and l.type = any($2::text[])
order by l.gp
"""  # noqa: S608  # constants only
# A key that is neither here nor in Kafka is gone: nobody can open what is sealed under it, and
# whoever waits for it is told so.
GIVE_UP_KEYS: Final = """
insert into subject_key (key_id, destroyed, unsent)
select distinct k.key_id, now(), true
from log l, lateral json_object_keys(l.data -> 'sealed') as k(key_id)
where l.epoch = $1 and l.xid = pg_current_xact_id() and json_typeof(l.data -> 'sealed') = 'object'
on conflict (key_id) do nothing
returning key_id
"""
RESERVE: Final = """
insert into reservation (kind, digest, holder)
select * from unnest($1::text[], $2::bytea[], $3::uuid[]) on conflict do nothing returning 1
"""


class CannotRecoverError(Exception):
    """The log cannot be made whole by this command; says why."""


class Reserves(Protocol):
    """What a service reserves for its events: asked again when those come back."""

    @property
    def types(self) -> Sequence[str]:
        """The event types that it reserves something for."""
        ...

    async def reservations(self, rows: Sequence[asyncpg.Record]) -> Sequence[Reservation]:
        """What follows from rows of those types, selected as `COLUMNS` and `data`."""
        ...


class Inserting:
    """Rows on their way into the log, some hundred in one transaction."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        reserves: Reserves | None,
        keeps_keys: bool,
        epoch: int,
        found: Comparison,
    ) -> None:
        self.records = 0
        self.reserved = 0
        self.lost_keys = 0
        self._pool = pool
        self._reserves = reserves
        self._keeps_keys = keeps_keys
        self._epoch = epoch
        self._moves = not found.owes
        self._version = found.progress.main.version
        again = found.progress.again
        self._again = frozenset(again)
        self._last = {place: one.logged for place, one in found.standings.items()}
        self._until = {place: one.sent for place, one in found.standings.items()}
        self._sent: dict[Place, tuple[int, int]] = {
            place: (one.logged, one.offset)
            for place, one in found.standings.items()
            if one.logged and place[0] not in again
        }
        self._rows: list[Row] = []
        self._characters = 0

    async def take(self, heard: Heard) -> None:
        """Note a record if it is the next one missing in its partition."""
        place = (heard.record.topic, heard.record.partition)
        number = self._last[place] + 1
        if heard.sequence != number or number > self._until[place]:
            return
        row = row_of(heard)
        if isinstance(row, Aside):
            reason = f"{place[0]} {place[1]}: {number} is no row: {row.reason}"
            raise CannotRecoverError(reason)
        if self._rows and (
            len(self._rows) >= ROWS_AT_ONCE or self._characters + len(row.data) > MOST_CHARACTERS
        ):
            await self.write()
        self._rows.append(row)
        self._characters += len(row.data)
        self._last[place] = number
        if place[0] not in self._again:
            self._sent[place] = (number, heard.offset)

    async def write(self) -> None:
        """Insert what was noted, in one transaction."""
        if not self._rows:
            return
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(INSERT, *self._arguments())
                if self._keeps_keys:
                    lost = await connection.fetch(GIVE_UP_KEYS, self._epoch)
                    self.lost_keys += len(lost)
                self.reserved += await self._reserve(connection)
        except UniqueViolationError as error:
            raise CannotRecoverError(
                f"a stream has another event in its place already: {error.detail}"
            ) from error
        except Exception as error:
            if sqlstate(error) == LOST:
                raise CannotRecoverError(
                    "another process moved on: a second recover, or the server was exchanged"
                ) from error
            raise
        self._version += 1
        self.records += len(self._rows)
        self._rows, self._characters = [], 0

    async def _reserve(self, connection: asyncpg.Connection) -> int:
        if self._reserves is None:
            return 0
        rows = await connection.fetch(INSERTED, self._epoch, list(self._reserves.types))
        if not rows:
            return 0
        wanted = await self._reserves.reservations(rows)
        made = await connection.fetch(
            RESERVE,
            [one.kind for one in wanted],
            [one.digest for one in wanted],
            [one.holder for one in wanted],
        )
        return len(made)

    def _arguments(self) -> tuple[Any, ...]:
        rows = [
            (
                row.topic, row.partition, one.event_id, one.stream_id, one.version, one.type,
                one.schema_version, one.partition_key, one.occurred_at, one.recorded_at,
                row.data, one.meta,
            )
            for row in self._rows
            for one in (row.envelope,)
        ]  # fmt: skip
        return (
            self._epoch,
            *(list(column) for column in zip(*rows, strict=True)),
            self._moves,
            self._version,
            [topic for topic, _ in self._sent],
            [partition for _, partition in self._sent],
            [number for number, _ in self._sent.values()],
            [offset for _, offset in self._sent.values()],
        )
