"""Decisions that belong together, on streams as they are read; nothing is written meanwhile."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from crm_events.errors import UnwrapError
from crm_store.log.entries import NewEvent, Statement, StreamAppend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from crm_events.base import Event
    from crm_store.log.append import Log
    from crm_store.log.logged import LoggedEvent

    from crm_deciding.decider import Decider, Directive, Timer

C = TypeVar("C")
S = TypeVar("S")

CAUSATION: Final = "causationid"
CORRELATION: Final = "correlationid"
DEPTH: Final = "depth"

SET: Final = """
insert into timer (decider, stream_id, name, due_at)
select * from unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[])
on conflict (stream_id, name) do update set due_at = excluded.due_at
where timer.due_at <> excluded.due_at
"""
CLEAR: Final = """
delete from timer t using unnest($1::uuid[], $2::text[]) as u(stream_id, name)
where t.stream_id = u.stream_id and t.name = u.name
"""


@dataclass(frozen=True, slots=True)
class Cause:
    """What led to a decision: when it happened, and what travels with its events.

    `id_of` gives the ids of the events that follow, by their number; None: they are minted.
    """

    occurred_at: datetime
    meta: Mapping[str, str] = field(default_factory=dict[str, str])
    id_of: Callable[[int], UUID] | None = None


@dataclass(slots=True)
class _Stream(Generic[S]):
    decider: Decider[Any, S]
    version: int
    state: S
    timers: frozenset[Timer]  # as it was read
    partition_key: UUID | None
    read: Sequence[LoggedEvent[Any]]
    events: list[NewEvent] = field(default_factory=list[NewEvent])


class Draft:
    """Commands are decided on what was read and on what was decided here before.

    `epoch` is the log's when the first stream was read: append under it.
    """

    def __init__(self, log: Log, *, epoch: int, mint_id: Callable[[], UUID]) -> None:
        self.epoch = epoch
        self._log = log
        self._mint_id = mint_id
        self._streams: dict[UUID, _Stream[Any]] = {}

    @classmethod
    async def on(cls, log: Log, *, mint_id: Callable[[], UUID]) -> Draft:
        """An empty one, of the epoch as it is."""
        return cls(log, epoch=await log.epoch(), mint_id=mint_id)

    async def read_ahead(self, directives: Iterable[Directive[Any, Any]]) -> None:
        """Read their streams in one statement for each decider; what it cannot fold is left out."""
        named: dict[str, dict[UUID, Decider[Any, Any]]] = {}
        for one in directives:
            named.setdefault(one.decider.name, {})[one.stream_id] = one.decider
        for streams in named.values():
            opens = next(iter(streams.values())).opens
            with contextlib.suppress(UnwrapError):  # as below
                read = await self._log.load_each(streams, opens=opens)
                for stream_id, decider in streams.items():
                    with contextlib.suppress(Exception):  # raised again when it is its turn
                        self._streams[stream_id] = _folded(decider, read[stream_id])

    async def state(self, decider: Decider[Any, S], stream_id: UUID) -> S:
        """The stream's state, with what was decided here."""
        return (await self._read(decider, stream_id)).state

    def version(self, stream_id: UUID) -> int:
        """The version of a stream that was read, once this is appended."""
        stream = self._streams[stream_id]
        return stream.version + len(stream.events)

    async def holds(self, decider: Decider[Any, Any], stream_id: UUID, event_id: UUID) -> bool:
        """Was this event in the stream when it was read?"""
        stream = await self._read(decider, stream_id)
        return any(logged.event_id == event_id for logged in stream.read)

    async def set_by(
        self, decider: Decider[Any, Any], stream_id: UUID, timer: Timer
    ) -> LoggedEvent[Any] | None:
        """The event since which the stream, as it was read, has this timer."""
        state, since = decider.initial, None
        for logged in (await self._read(decider, stream_id)).read:
            state = decider.evolve(state, logged.event, logged.occurred_at)
            if timer not in decider.timers(state):
                since = None
            elif since is None:
                since = logged
        return since

    async def apply(
        self, decider: Decider[C, S], stream_id: UUID, command: C, *, cause: Cause
    ) -> tuple[Event, ...]:
        """Decide, and note what follows. Raises the decider's refusals: nothing is noted then."""
        stream = await self._read(decider, stream_id)
        events = decider.decide(command, stream.state)
        for number, event in enumerate(events):
            if stream.partition_key is None:
                stream.partition_key = decider.partition_key(event)
            stream.state = decider.evolve(stream.state, event, cause.occurred_at)
            stream.events.append(
                NewEvent(
                    event=event,
                    event_id=self._mint_id() if cause.id_of is None else cause.id_of(number),
                    occurred_at=cause.occurred_at,
                    partition_key=stream.partition_key,
                    meta=cause.meta,
                )
            )
        return events

    def kept(self) -> Mapping[UUID, tuple[Any, UUID | None, int]]:
        """What is decided so far, for `restore`."""
        return {
            stream_id: (stream.state, stream.partition_key, len(stream.events))
            for stream_id, stream in self._streams.items()
        }

    def restore(self, kept: Mapping[UUID, tuple[Any, UUID | None, int]]) -> None:
        """Take back what was decided since."""
        for stream_id, stream in list(self._streams.items()):
            if stream_id not in kept:
                del self._streams[stream_id]
                continue
            stream.state, stream.partition_key, count = kept[stream_id]
            del stream.events[count:]

    @property
    def appends(self) -> tuple[StreamAppend, ...]:
        """One for each stream that changes."""
        return tuple(
            StreamAppend(stream_id, stream.version, tuple(stream.events))
            for stream_id, stream in self._streams.items()
            if stream.events
        )

    def timer(self, stream_id: UUID, name: str) -> Timer | None:
        """The timer of that name which the stream has as it was decided here."""
        stream = self._streams[stream_id]
        return next((one for one in stream.decider.timers(stream.state) if one.name == name), None)

    def timers(self, *, but: tuple[UUID, str] | None = None) -> list[Statement]:
        """What sets and clears the timers of the streams that change; `but` one is left alone."""
        anew: list[tuple[str, UUID, str, datetime]] = []
        gone: list[tuple[UUID, str]] = []
        for stream_id, stream in self._streams.items():
            if not stream.events:
                continue
            timers = frozenset(stream.decider.timers(stream.state))
            names = {one.name for one in timers}
            anew += [
                (stream.decider.name, stream_id, one.name, one.due_at)
                for one in timers - stream.timers
                if (stream_id, one.name) != but
            ]
            gone += [
                (stream_id, one.name)
                for one in stream.timers
                if one.name not in names and (stream_id, one.name) != but
            ]
        # Sorted, so that two writers never wait for each other.
        return [
            Statement(sql, tuple(map(list, zip(*sorted(rows), strict=True))))
            for sql, rows in ((SET, anew), (CLEAR, gone))
            if rows
        ]

    async def _read(self, decider: Decider[Any, S], stream_id: UUID) -> _Stream[S]:
        known = self._streams.get(stream_id)
        if known is not None:
            return known
        loaded = await self._log.load(stream_id, opens=decider.opens)
        self._streams[stream_id] = stream = _folded(decider, loaded)
        return stream


def _folded(decider: Decider[Any, S], loaded: Sequence[LoggedEvent[Any]]) -> _Stream[S]:
    state, version, key = decider.initial, 0, None
    for logged in loaded:
        state = decider.evolve(state, logged.event, logged.occurred_at)
        version, key = logged.stream_version, logged.partition_key
    timers = frozenset(decider.timers(state))
    return _Stream(decider, version, state, timers, key, loaded)
