"""What operators ask of parked keys, done by the owner of the projection: retry, try, discard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from crm_store.deeds import noted
from crm_store.log.entries import Statement
from crm_store.log.logged import COLUMNS, QUARANTINED
from crm_store.log.position import columns

from crm_projections.checkpoints import stayed, write_behind
from crm_projections.parking import Failure, Waiting, is_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg
    from crm_store.log.append import Log
    from crm_store.log.logged import LoggedEvent

    from crm_projections.checkpoints import Standing
    from crm_projections.keyed import Keyed

LOOK_EVERY_S: Final = 0.5
KEYS_A_TURN: Final = 20
EVENTS_AT_ONCE: Final = 1_000
"""Of a key, before the folds have their turn: what is asked never holds them up for long."""
LONGEST_S: Final = 0.25
"""Of all keys together, likewise: those that it does not suffice for are done in later turns."""

ASKED: Final = """
select projection, version, key, asked, asked_by from parked_key
where asked is not null and (projection, version) in (select * from unnest($1::text[], $2::int[]))
order by asked_at, key limit $3
"""
# The limit inside: of many that wait only the next are looked up in the log.
EVENTS: Final = f"""
select {COLUMNS}, l.data::text as data
from (select p.epoch, p.xid, p.gp from parked_event p
      where p.projection = $1 and p.version = $2 and p.key = $3
      order by p.epoch, p.xid, p.gp limit $4) p
join log l on (l.epoch, l.xid, l.gp) = (p.epoch, p.xid, p.gp)
order by l.epoch, l.xid, l.gp
"""  # noqa: S608  # constants only
DONE: Final = """
delete from parked_event p using unnest($4::int[], $5::text[], $6::bigint[]) as u(epoch, xid, gp)
where p.projection = $1 and p.version = $2 and p.key = $3
  and (p.epoch, p.xid, p.gp) = (u.epoch, u.xid::xid8, u.gp)
"""
STILL: Final = """
update parked_key set reason = $4, stack = $5, awaits = $6, asked = null
where projection = $1 and version = $2 and key = $3
"""
FREE: Final = "delete from parked_key where projection = $1 and version = $2 and key = $3"
DROP: Final = "delete from parked_event where projection = $1 and version = $2 and key = $3"
TRIED: Final = """
update parked_key set asked = null where projection = $1 and version = $2 and key = $3
"""
# Nobody asked: the key that was missing is here, or is known to be destroyed.
HAS_COME: Final = """
update parked_key p set asked = 'retry', asked_by = null, asked_at = now()
from subject_key k
where k.key_id = p.awaits and p.asked is null
  and (p.projection, p.version) in (select * from unnest($1::text[], $2::int[]))
"""
COUNT: Final = """
select count(*) from parked_event where projection = $1 and version = $2 and key = $3
"""

_logger = structlog.stdlib.get_logger(__name__)


def about(projection: str, version: int, key: str) -> str:
    """How a deed names a parked key."""
    return f"{projection} {version} {key}"


class Retrying:
    """Answers what is asked of parked keys, between two pages of the projections' owner."""

    def __init__(self, pool: asyncpg.Pool, log: Log) -> None:
        self._pool = pool
        self._log = log
        self._looked_at = float("-inf")
        self._folded: dict[tuple[str, int, str], int] = {}  # of keys that are not done yet

    async def answer(
        self, keyed: Mapping[tuple[str, int], Keyed[Any]], at: Mapping[tuple[str, int], Standing]
    ) -> None:
        """Do what is asked of at most 20 keys, or a part of it; looks at most twice a second.

        Raises an error with SQLSTATE KM001 when another owner moved a checkpoint.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not keyed or now - self._looked_at < LOOK_EVERY_S:
            return
        names, versions = [name for name, _ in keyed], [version for _, version in keyed]
        if any(one.parked for one in keyed.values()):
            await self._pool.execute(HAS_COME, names, versions)
        asked = {
            (row["projection"], row["version"], row["key"]): row
            for row in await self._pool.fetch(ASKED, names, versions, KEYS_A_TURN)
        }
        self._folded = {place: self._folded.get(place, 0) for place in asked}
        for place, row in asked.items():
            model = place[:2]
            one = _Asked(self._pool, self._log, keyed[model], at[model], row)
            folded = await one.do(self._folded.pop(place))
            if folded is not None:
                self._folded[place] = folded
            if loop.time() - now >= LONGEST_S:
                break
        if len(asked) < KEYS_A_TURN and not self._folded:
            self._looked_at = now


class _Asked:
    """One thing asked of one key."""

    def __init__(
        self, pool: asyncpg.Pool, log: Log, keyed: Keyed[Any], at: Standing, row: asyncpg.Record
    ) -> None:
        self._pool = pool
        self._log = log
        self._keyed = keyed
        self._at = at
        self._key: str = row["key"]
        self._what: str = row["asked"]
        self._by: str = row["asked_by"] or ""
        self._place = (keyed.model.name, keyed.model.version, self._key)

    async def do(self, folded: int) -> int | None:
        """Do it; of a retry a part, behind so many events that were folded. None: it is done."""
        if self._what == "discard":
            await self._discard()
        elif self._what == "try":
            await self._try()
        else:
            return await self._retry(folded)
        return None

    async def _discard(self) -> None:
        count = await self._pool.fetchval(COUNT, *self._place)
        statements = [Statement(DROP, self._place), Statement(FREE, self._place)]
        await self._write(statements, outcome=f"{count} events were passed over")
        self._keyed.now_parked(self._keyed.parked - {self._key})

    async def _try(self) -> None:
        """Fold, and write what would come of it to nobody but the operator."""
        entries = await self._events(EVENTS_AT_ONCE)
        waiting = self._waiting()
        await self._made(entries, waiting)
        held = self._held(waiting)
        outcome = f"{len(entries)} events can be folded"
        if held:
            good = len(entries) - len(held)
            outcome = f"{good} events can be folded, then {self._failure(waiting).reason}"
        await self._write([Statement(TRIED, self._place)], outcome=outcome)

    async def _retry(self, done: int) -> int | None:
        """Fold the next of the key's events in order, as far as they go; those are parked no more.

        How many were folded by now, where there are more.
        """
        most = EVENTS_AT_ONCE
        while True:
            entries = await self._events(most)
            waiting = self._waiting()
            made = await self._made(entries, waiting)
            alone = len(entries) == 1
            try:
                more = await self._settle(entries, waiting, made, done, at_once=most)
            except Exception as error:
                keyed = self._keyed
                if not (keyed.blames(error) if alone else keyed.halves(error)):
                    raise
                if not alone:
                    most = len(entries) // 2
                    continue
                failure = Failure.of(self._key, error)
                await self._write([self._still(failure)], outcome=_as_far_as(done, failure))
                return None
            return done + len(entries) if more else None

    async def _settle(
        self,
        entries: Sequence[LoggedEvent[Any]],
        waiting: Waiting,
        made: Any,  # noqa: ANN401  # what the model makes of events
        done: int,
        *,
        at_once: int,
    ) -> bool:
        """Write what was folded, and what is parked now. Are there more events?"""
        held = self._held(waiting)
        gone = [entry for entry in entries if entry not in held]
        model = self._keyed.model
        others = waiting.without(self._key)
        statements = others.statements(model.name, model.version)
        if gone:
            places = columns(entry.position for entry in gone)
            statements.append(Statement(DONE, (*self._place, *places)))
        more = not held and len(entries) == at_once
        outcome: str | None = None
        if held:
            failure = self._failure(waiting)
            statements.append(self._still(failure))
            outcome = _as_far_as(done + len(gone), failure)
        elif not more:
            statements.append(Statement(FREE, self._place))
            outcome = f"{done + len(gone)} events were folded"
        await self._write(statements, outcome=outcome, made=made)
        self._keyed.now_parked(waiting.keys | {self._key} if held or more else waiting.keys)
        return more

    async def _events(self, most: int) -> list[LoggedEvent[Any]]:
        rows = await self._pool.fetch(EVENTS, *self._place, most)
        return await self._log.logged(rows, opens=self._keyed.model.opens)

    async def _made(self, entries: Sequence[LoggedEvent[Any]], waiting: Waiting) -> Any:  # noqa: ANN401  # as above
        only = self._key if is_row(self._key) else None
        # What was in quarantine's place may be of another type by now, or passed over for good.
        own = [one for one in entries if one.type in {*self._keyed.model.types, QUARANTINED}]
        return await self._keyed.make(own, waiting=waiting, only=only)

    def _waiting(self) -> Waiting:
        return Waiting(self._keyed.parked - {self._key})

    def _held(self, waiting: Waiting) -> set[LoggedEvent[Any]]:
        """What has to wait on."""
        return {entry for key, entry in waiting.events if key == self._key}

    def _failure(self, waiting: Waiting) -> Failure:
        return next(one for one in waiting.failures if one.key == self._key)

    def _still(self, failure: Failure) -> Statement:
        told = (failure.reason, failure.stack, failure.awaits)
        return Statement(STILL, (*self._place, *told))

    async def _write(
        self,
        statements: Sequence[Statement],
        *,
        outcome: str | None,
        made: Any = None,  # noqa: ANN401  # as above
    ) -> None:
        """Write beside the model, where its owner believes it to be; with an outcome it is done."""
        model, what = self._keyed.model, f"parked {self._what}"
        deeds: list[Statement] = []
        if outcome is not None and self._by:
            deeds = [noted(by=self._by, what=what, about=about(*self._place), outcome=outcome)]
        fence = stayed(model, self._at)
        if made is None:
            await write_behind(fence, self._pool, [*statements, *deeds])
        else:
            await self._keyed.write(made, fence, [*statements, *deeds])
        if outcome is not None:
            _logger.info(
                "parked.answered", projection=model.name, what=what, key=self._key, outcome=outcome
            )


def _as_far_as(done: int, failure: Failure) -> str:
    return f"{done} events were folded, then {failure.reason}"
