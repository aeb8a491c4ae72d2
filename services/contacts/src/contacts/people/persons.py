"""People out of the log: folded once, and for a minute only from where they were left."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from crm_store.log.logged import COLUMNS

from contacts.people.decider import evolve
from contacts.people.draft import ABSENT, Loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    import asyncpg
    from crm_store.log.append import Log

    from contacts.people.decider import PersonEvent

KEPT_SECONDS: Final = 60.0
KEPT_MOST: Final = 1_000
STEP_EVENTS: Final = 200
"""So many are opened before other requests get their turn."""

# Of a person whose key was destroyed everything is read anew: nothing opened before counts.
LATER: Final = f"""
select {COLUMNS}, l.data
from (
    select u.id, case when exists (
        select from subject_key k where k.key_id = u.id::text and k.destroyed is not null
    ) then 0 else u.version end as version
    from unnest($1::uuid[], $2::int[]) as u(id, version)
) known
join log l on l.stream_id = known.id and l.version > known.version and l.sequence is null
order by l.stream_id, l.version
"""  # noqa: S608  # constants only


@dataclass(frozen=True, slots=True)
class _Kept:
    loaded: Loaded
    until: float  # a minute after the first event was read, however often later ones were added


class Persons:
    """Loads people. At most 1,000 stay in memory, opened, for at most 60 s.

    What is kept may be behind the log, never ahead: each load reads the later events, and whoever
    decides on it appends at an expected version.
    """

    def __init__(
        self, *, pool: asyncpg.Pool, log: Log, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._log = log
        self._monotonic = monotonic
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()  # in the order in which they end

    async def load(self, customer_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        """The people as they are now; the unknown are missing. One statement."""
        now = self._monotonic()
        self._drop_old(now)
        memory = self._kept  # as of now, should it be replaced meanwhile
        kept = {one: memory[one] for one in customer_ids if one in memory}
        found = {customer_id: one.loaded for customer_id, one in kept.items()}
        versions = [found.get(one, ABSENT).version for one in customer_ids]
        rows = await self._pool.fetch(LATER, list(customer_ids), versions)
        for start in range(0, len(rows), STEP_EVENTS):
            step = rows[start : start + STEP_EVENTS]
            for entry in await self._log.logged(step, opens=True):
                first = entry.stream_version == 1
                before = ABSENT if first else found[entry.stream_id]
                person = evolve(before.person, cast("PersonEvent", entry.event))
                found[entry.stream_id] = Loaded(person, entry.stream_version)
            await asyncio.sleep(0)
        for customer_id, loaded in found.items():
            until = kept[customer_id].until if customer_id in kept else now + KEPT_SECONDS
            _keep(memory, customer_id, _Kept(loaded, until))
        return found

    def forget(self) -> None:
        """Nothing that is in memory counts any more: rows may be gone."""
        self._kept = OrderedDict()

    def _drop_old(self, now: float) -> None:
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._kept.popitem(last=False)


def _keep(memory: OrderedDict[UUID, _Kept], customer_id: UUID, kept: _Kept) -> None:
    known = memory.get(customer_id)
    if known is not None:
        # Two that loaded side by side: the sooner end stands, and so does the order.
        kept = _Kept(kept.loaded, min(kept.until, known.until))
    memory[customer_id] = kept
    if len(memory) > KEPT_MOST:
        memory.popitem(last=False)
