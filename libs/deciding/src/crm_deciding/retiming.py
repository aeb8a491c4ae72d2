"""Timers made anew from the log: where rows came back, or what timers follow from is another."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from crm_store.errors import is_dependency_error
from crm_store.log.append import LOAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import asyncpg
    from crm_store.log.append import Log
    from crm_store.log.logged import LoggedEvent

    from crm_deciding.decider import Decider, Timer

STREAMS_AT_ONCE: Final = 50
"""They are locked for as long as it takes to fold them."""

MADE: Final = """
select m.decider, m.basis from timers_made m
where m.epoch >= coalesce((select max(e.epoch) from log_epoch e where e.recovered), 0)
"""
BEGUN: Final = """
select l.stream_id from log l
where l.sequence is null and l.version = 1 and l.type = any($1::text[]) and l.stream_id > $2
order by l.stream_id limit $3
"""
# As an append takes them: who appends meanwhile comes before or after, and no id is held yet.
LOCK: Final = """
select pg_advisory_xact_lock(k) from (
    select distinct hashtextextended(id::text, 0) as k from unnest($1::uuid[]) as u(id) order by k
) keys
"""
MAKE: Final = """
with cleared as (
    delete from timer t
    where t.decider = $1 and t.stream_id = any($2::uuid[])
      and (t.stream_id, t.name) not in (select * from unnest($3::uuid[], $4::text[]))
)
insert into timer (decider, stream_id, name, due_at)
select $1, * from unnest($3::uuid[], $4::text[], $5::timestamptz[])
on conflict (stream_id, name) do update set due_at = excluded.due_at
where timer.due_at <> excluded.due_at
"""
NOTE: Final = """
insert into timers_made (decider, basis, epoch) values ($1, $2, $3)
on conflict (decider) do update set basis = excluded.basis, epoch = excluded.epoch
"""

_logger = structlog.stdlib.get_logger(__name__)


class Retiming:
    """Makes the timers of each kind of stream anew where that is due, fifty streams a turn.

    Begun again from the first stream in another process: what is made twice is made alike.
    """

    def __init__(
        self, *, pool: asyncpg.Pool, log: Log, deciders: Sequence[Decider[Any, Any]]
    ) -> None:
        self._pool = pool
        self._log = log
        self._deciders = deciders
        self._reached: dict[str, tuple[int, UUID]] = {}

    async def turn(self) -> bool:
        """Make timers of the next streams; is there more?

        Raises LogNotSettledError and NewEpochError, as `Log.confirm` does.
        """
        rows = await self._pool.fetch(MADE)
        made = {row["decider"]: row["basis"] for row in rows}
        for decider in self._deciders:
            if made.get(decider.name) != decider.basis:
                await self._go_on(decider)
                return True
        return False

    async def _go_on(self, decider: Decider[Any, Any]) -> None:
        epoch = await self._log.epoch()
        await self._log.confirm(epoch)
        begun_in, after = self._reached.get(decider.name, (epoch, UUID(int=0)))
        if begun_in != epoch:  # rows may have come back behind it
            after = UUID(int=0)
        begins = [event.type for event in decider.begins]
        rows = await self._pool.fetch(BEGUN, begins, after, STREAMS_AT_ONCE)
        if rows:
            stream_ids = [row["stream_id"] for row in rows]
            await self._make(decider, stream_ids)
            self._reached[decider.name] = (epoch, stream_ids[-1])
            return
        await self._pool.execute(NOTE, decider.name, decider.basis, epoch)
        self._reached.pop(decider.name, None)
        _logger.info("timers.made", decider=decider.name)

    async def _make(self, decider: Decider[Any, Any], stream_ids: Sequence[UUID]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK, stream_ids)
            rows = await connection.fetch(LOAD, stream_ids)
            logged = await self._log.logged(rows, opens=decider.opens)
            timers: dict[UUID, tuple[Timer, ...]] = {}
            for stream_id, events in groupby(logged, lambda one: one.stream_id):
                try:
                    timers[stream_id] = _timers(decider, events)
                except Exception as error:
                    if is_dependency_error(error):
                        raise
                    _logger.exception("timers.not_made", decider=decider.name)
            every = [(stream_id, one) for stream_id, those in timers.items() for one in those]
            await connection.execute(
                MAKE,
                decider.name,
                list(timers),
                [stream_id for stream_id, _ in every],
                [one.name for _, one in every],
                [one.due_at for _, one in every],
            )


def _timers(decider: Decider[Any, Any], events: Iterable[LoggedEvent[Any]]) -> tuple[Timer, ...]:
    state = decider.initial
    for logged in events:
        state = decider.evolve(state, logged.event, logged.occurred_at)
    return decider.timers(state)
