"""Appending: to streams under a guarded order, and facts that deduplicate themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson
from crm_events.errors import MissingKeyError
from crm_events.sealing import personal_fields, subjects

from crm_store import metrics
from crm_store.errors import (
    NOT_SETTLED,
    OTHER_EPOCH,
    LogNotSettledError,
    NewEpochError,
    sqlstate,
)
from crm_store.log.entries import (
    Appended,
    Fact,
    NewEvent,
    ReservedError,
    Statement,
    StreamAppend,
    VersionConflictError,
)
from crm_store.log.logged import COLUMNS, LoggedEvent
from crm_store.log.position import Position
from crm_store.log.rows import columns_of, subject_of
from crm_store.log.statements import followed
from crm_store.log.together import Call, Together
from crm_store.tracing import Appending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    import asyncpg
    from crm_events.base import Event
    from crm_events.keys import Destroyed
    from crm_events.topics import Contract

    from crm_store.keyring import Keyring
    from crm_store.log.entries import Reservation
    from crm_store.log.wakeups import Wakeups

APPEND_STREAMS: Final = (
    "select o_stream, o_version, o_xid, o_gp from log_append($1, $2, $3, $4, $5, $6, $7, $8, $9, "
    "$10, $11, $12, $13, $14, $15, $16, $17, $18)"
)
APPEND_FACTS: Final = """
insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                 partition_key, occurred_at, topic, partition, data, meta)
select (select open_epoch($1)), $2, u.stream, u.version, u.id, u.type, u.schema, u.key,
       u.occurred, u.topic, u.part, u.data::json, u.meta::json
from unnest($3::uuid[], $4::int[], $5::uuid[], $6::text[], $7::int[], $8::uuid[],
            $9::timestamptz[], $10::text[], $11::int[], $12::text[], $13::text[])
       with ordinality
    as u(stream, version, id, type, schema, key, occurred, topic, part, data, meta, n)
order by u.n
on conflict do nothing
returning stream_id as o_stream, version as o_version, xid::text as o_xid, gp as o_gp
"""
LOAD: Final = f"""
select {COLUMNS}, l.data from log l where l.stream_id = any($1::uuid[]) and l.sequence is null
order by l.stream_id, l.version
"""  # noqa: S608  # constants only
VERSIONS: Final = "select stream_id, version from stream where stream_id = any($1::uuid[])"


class Log:
    """The log of one service. What is appended here is durable when the call returns."""

    def __init__(  # the collaborators of the log, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        contract: Contract,
        keyring: Keyring,
        clock: Callable[[], datetime],
        wakeups: Wakeups,
    ) -> None:
        self._pool = pool
        self._contract = contract
        self._keyring = keyring
        self._clock = clock
        self._wakeups = wakeups
        self._together = Together(pool)
        self._epoch: int | None = None
        self._forgets: list[Callable[[], None]] = []
        wakeups.when_connected(self._forget)

    def topic_of(self, kind: str) -> str | None:
        """The topic that events of this type are published to; None of a private or unknown one."""
        topic = self._contract.by_type.get(kind)
        return None if topic is None else topic.name

    async def epoch(self) -> int:
        """The epoch as this process knows it. What is kept in memory is of this one.

        Ask before you read what you decide on, and append under it.
        """
        if self._epoch is None:
            epoch: int = await self._pool.fetchval("select max(epoch) from log_epoch")
            self._epoch = epoch
        return self._epoch

    def forget_with(self, forget: Callable[[], None]) -> None:
        """Have `forget` called when the log may have begun an epoch: rows in memory may be gone."""
        self._forgets.append(forget)

    async def confirm(self, epoch: int) -> None:
        """Before something is refused: is what was read in this epoch still so?

        Raises:
            LogNotSettledError, NewEpochError: it may not be; see `append`.
        """
        try:
            await self._pool.execute("select open_epoch($1)", epoch)
        except Exception as error:
            raise self._told(error, epoch) from error

    async def append(  # noqa: PLR0913  # each named at the call
        self,
        *,
        epoch: int | None = None,
        streams: Sequence[StreamAppend] = (),
        facts: Sequence[Fact] = (),
        reservations: Sequence[Reservation] = (),
        also: Sequence[Statement] = (),
        fence: Statement | None = None,
    ) -> Appended:
        """Append in one transaction, all or nothing; facts that are known already are skipped.

        `also` is written in the same statement, after the rows: nothing to the log, and no row
        twice. `fence`, likewise, must change exactly one row, else nothing is written (SQLSTATE
        KM001); it needs streams with events. `epoch` is the one in which was read what this was
        decided on; None: nothing was.

        Raises:
            LogNotSettledError: the database may have been restored; nothing may be written yet.
            NewEpochError: the log began an epoch. Nothing was written; read and decide anew.
            VersionConflictError: a stream is not at its expected version. Nothing was written;
                load it again and decide anew, in a new call.
            ReservedError: an identifier is held by another. Nothing was written.
            EventTooLargeError: an event is above 256 kB sealed, or its record above the limit.
            DestroyedKeyError, MissingKeyError: a subject's key is gone or unknown here.
        """
        with Appending() as spans:
            placed = [
                (append.stream_id, append.expected_version + n, self._as_written(new, spans))
                for append in streams
                for n, new in enumerate(append.events, start=1)
            ] + [(fact.stream_id, 1, self._as_written(fact.event, spans)) for fact in facts]
            return await self._append(
                placed, epoch, streams, facts, reservations=reservations, also=also, fence=fence
            )

    async def load(self, stream_id: UUID, *, opens: bool) -> Sequence[LoggedEvent[Event]]:
        """Every event of one of this service's streams, in version order; [] where it is new."""
        return (await self.load_each([stream_id], opens=opens))[stream_id]

    async def load_each(
        self, stream_ids: Iterable[UUID], *, opens: bool
    ) -> Mapping[UUID, Sequence[LoggedEvent[Event]]]:
        """The same of several streams, read at the same instant."""
        found: dict[UUID, list[LoggedEvent[Event]]] = {stream_id: [] for stream_id in stream_ids}
        for logged in await self.logged(await self._pool.fetch(LOAD, list(found)), opens=opens):
            found[logged.stream_id].append(logged)
        return found

    async def versions(self, stream_ids: Iterable[UUID]) -> Mapping[UUID, int]:
        """At which versions streams of this service are; the new ones are missing."""
        rows = await self._pool.fetch(VERSIONS, list(stream_ids))
        return {row["stream_id"]: row["version"] for row in rows}

    async def known(self, stream_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of the streams that exist."""
        rows = await self._pool.fetch(
            "select stream_id from log where stream_id = any($1::uuid[]) and version = 1 "
            "and sequence is null",
            list(stream_ids),
        )
        return frozenset(row["stream_id"] for row in rows)

    async def logged(
        self, rows: Sequence[asyncpg.Record], *, opens: bool
    ) -> list[LoggedEvent[Event]]:
        """Rows that were selected as `COLUMNS` and `data`, as events; opened where asked."""
        keys: Mapping[str, bytes | Destroyed] | None = None
        if opens:
            keys = await self._keyring.keys(
                {key_id for row in rows for key_id in subjects(orjson.loads(row["data"]))}
            )
        return [LoggedEvent(row, self._contract, keys) for row in rows]

    async def _append(  # noqa: PLR0913  # as `append` takes them
        self,
        placed: Sequence[tuple[UUID, int, NewEvent]],
        epoch: int | None,
        streams: Sequence[StreamAppend],
        facts: Sequence[Fact],
        *,
        reservations: Sequence[Reservation],
        also: Sequence[Statement],
        fence: Statement | None,
    ) -> Appended:
        epoch = await self.epoch() if epoch is None else epoch
        recorded_at = self._clock()
        keys = await self._keys([new for *_, new in placed])
        try:
            columns = columns_of(placed, recorded_at, keys, contract=self._contract)
        except MissingKeyError:
            await self.confirm(epoch)  # in a restored database the key may be gone with its rows
            raise
        heads = _heads(streams, reservations)
        try:
            if not streams and not reservations and not also and fence is None:
                rows = await self._pool.fetch(APPEND_FACTS, epoch, recorded_at, *columns)
            else:
                rows = None
                call = Call(epoch, recorded_at, heads[0], heads[1], columns)
                if call.joins and not (facts or reservations or also or fence):
                    rows = await self._together.append(call)
                if rows is None:
                    rows = await self._alone((epoch, recorded_at, *heads, *columns), also, fence)
        except Exception as error:
            raise self._told(error, epoch) from error
        inserted = frozenset(row["o_stream"] for row in rows)
        known = frozenset(fact.stream_id for fact in facts) - inserted
        metrics.LOG_DUPLICATE_FACTS.inc(len(known))
        position: Position | None = None
        if rows:  # in the order they were inserted in
            position = Position(epoch, int(rows[-1]["o_xid"]), rows[-1]["o_gp"])
            metrics.LOG_APPENDED_EVENTS.inc(len(rows))
            self._wakeups.signal()
        return Appended(position=position, inserted=inserted, duplicates=known)

    async def _alone(
        self, arguments: tuple[Any, ...], also: Sequence[Statement], fence: Statement | None
    ) -> list[asyncpg.Record]:
        # One round trip: a transaction that waits for its client holds every tail back.
        statement = followed(Statement(APPEND_STREAMS, arguments), also, fence=fence)
        return await self._pool.fetch(statement.sql, *statement.args)

    def _as_written(self, new: NewEvent, spans: Appending) -> NewEvent:
        """In the version that the contract has written (`Contract.writes`), as it is traced."""
        written, meta = self._contract.as_written(new.event), spans.meta(new.meta)
        if written is new.event and meta is new.meta:
            return new
        return replace(new, event=written, meta=meta)

    async def _keys(self, news: Sequence[NewEvent]) -> Mapping[str, bytes | Destroyed]:
        wanted = {str(subject_of(new)) for new in news if personal_fields(type(new.event))}
        return await self._keyring.keys(wanted) if wanted else {}

    def _told(self, error: Exception, epoch: int) -> Exception:
        """The error by its name; after one of another epoch nothing in memory counts."""
        named = _named(error)
        if isinstance(named, NewEpochError) and self._epoch == epoch:
            self._forget()
        return named

    def _forget(self) -> None:
        self._epoch = None
        for forget in self._forgets:
            forget()


def _heads(
    streams: Sequence[StreamAppend], reservations: Sequence[Reservation]
) -> tuple[list[Any], ...]:
    return (
        [append.stream_id for append in streams],
        [append.expected_version for append in streams],
        [reservation.kind for reservation in reservations],
        [reservation.digest for reservation in reservations],
        [reservation.holder for reservation in reservations],
    )


def _named(error: Exception) -> Exception:
    """The error as this module's own where the database raised one of ours."""
    detail = str(getattr(error, "detail", "") or "")
    match sqlstate(error):
        case "KV001":
            return VersionConflictError(UUID(detail))
        case "KR001":
            kind, holder = detail.rsplit(" ", 1)
            return ReservedError(kind, UUID(holder))
        case state if state == NOT_SETTLED:
            metrics.LOG_REFUSED_APPENDS.inc()
            return LogNotSettledError("the log is not settled")
        case state if state == OTHER_EPOCH:
            return NewEpochError("the log began an epoch")
        case _:
            return error
