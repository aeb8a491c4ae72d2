"""Tells which band a score came into: the event `analytics.customer.band-changed`.

A row per customer and model says which band was told and when it is to be looked at again: at once
where its score moved, else at the instant at which time alone ends the band. What is told is
appended in the statement that moves the row on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from crm_events.analytics import BandChanged
from crm_store.errors import LOST, sqlstate
from crm_store.ids import derived_id, new_id
from crm_store.log.entries import NewEvent, Statement, StreamAppend, VersionConflictError
from crm_store.turns import take_turns
from prometheus_client import Counter, Gauge

from analytics.bands.bands import Change, InBand, changes_of, resting
from analytics.engagement.sums import Sums

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import asyncpg
    from crm_store.clock import Clock
    from crm_store.lease import Lease
    from crm_store.log.append import Log

    from analytics.engagement.model import ScoringModel

BANDS: Final = UUID("b3b7a0de-2f0c-5d0b-8a57-64d0a1c3e9f2")
"""Namespace of band streams: one per model name and customer."""

MOST_PER_TURN: Final = 200
LOOK_EVERY_SECONDS: Final = 0.5

# The soonest are taken off the index, and only then it is asked which of them are due: thousands
# may be due at one instant, which no statistics foretell, and a plan that finds all of those and
# sorts them does so for each batch.
# A score that moved and is not told yet may have left its band by what was heard as well.
DUE: Final = """
with soonest as materialized (
    select b.model_id, b.customer_id, b.band, b.changes, b.due_at from band b
    where b.model_id = $1 and b.due_at is not null order by b.due_at limit $3
)
select b.customer_id, b.band, b.changes, e.s, e.s_negative,
       case when not e.unpublished then nullif(b.due_at, '-infinity') end as left_at
from soonest b join engagement e on e.model_id = b.model_id and e.customer_id = b.customer_id
where b.due_at <= $2
"""
# In the order of their ids, as everyone locks them. A row that was marked or told meanwhile ends
# all of this: what was read of it is no longer so.
MOVE_ON: Final = """
with locked as materialized (
    select from band b
    join unnest($2::uuid[], $3::bigint[]) as k(customer_id, changes)
        on b.customer_id = k.customer_id and b.changes = k.changes
    where b.model_id = $1 order by b.customer_id for no key update of b
)
update band b set band = u.band, due_at = u.due_at, changes = b.changes + 1
from unnest($2::uuid[], $4::text[], $5::timestamptz[]) as u(customer_id, band, due_at)
where b.model_id = $1 and b.customer_id = u.customer_id
  and assert_moved((select count(*) from locked), cardinality($2))
"""
MARK: Final = """
insert into band as b (model_id, customer_id, due_at)
select $1::bigint, u.customer_id, '-infinity' from unnest($2::uuid[]) as u(customer_id)
order by u.customer_id
on conflict (model_id, customer_id) do update
    set due_at = '-infinity', changes = b.changes + 1
"""

TOLD = Counter("analytics_band_changes_total", "Changes of bands that were told.", ["cause"])
LATE_SECONDS = Gauge(
    "analytics_bands_late_seconds",
    "How long the oldest end of a band waits to be told, or 0.",
    ["model"],
)

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """A row that is due: the band that was told, and since when it is left by time alone."""

    customer_id: UUID
    band: str
    changes: int
    left_at: datetime | None
    sums: Sums


class Telling:
    """Publishes changes of bands, while the lease is held: within about a second."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        log: Log,
        models: Sequence[ScoringModel],
        lease: Lease,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._log = log
        self._models = tuple(model for model in models if model.bands)
        self._lease = lease
        self._clock = clock

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Tell what is due until `stop`."""
        await take_turns(
            "bands", self.turn, lease=self._lease, every_s=LOOK_EVERY_SECONDS, stop=stop, beat=beat
        )

    async def turn(self, *, beat: Callable[[], None] = lambda: None) -> bool:
        """Take one batch of each model; is there more at once?"""
        full = False
        for model in self._models:
            beat()
            try:
                full |= await self.tell(model) == MOST_PER_TURN
            except Exception as error:
                # The score moved again or another process told it: it is looked at anew.
                if not isinstance(error, VersionConflictError) and sqlstate(error) != LOST:
                    raise
                _logger.info("bands.overtaken", model=model.name, error=type(error).__name__)
        return full

    async def tell(self, model: ScoringModel) -> int:
        """Tell of one batch that is due; how many rows that were.

        Raises VersionConflictError, or an error with SQLSTATE KM001, when a row is no longer as
        it was read; nothing was written then.
        """
        now = self._clock()
        rows = await self._pool.fetch(DUE, model.model_id, now, MOST_PER_TURN)
        left = [row["left_at"] for row in rows if row["left_at"] is not None]
        late = (now - min(left)).total_seconds() if left else 0.0
        LATE_SECONDS.labels(model=model.name).set(late)
        if not rows:
            return 0
        at_rest = resting(model)
        due = [
            Told(
                row["customer_id"],
                row["band"] or at_rest,
                row["changes"],
                row["left_at"],
                Sums(row["s"], row["s_negative"]),
            )
            for row in rows
        ]
        found = [changes_of(model, one.band, one.sums, left_at=one.left_at, now=now) for one in due]
        changed = {
            one.customer_id: changes
            for one, (changes, _) in zip(due, found, strict=True)
            if changes
        }
        await self._log.append(
            streams=await self._streams(model, changed),
            also=(_moved_on(model, due, [present for _, present in found]),),
        )
        for change in [each for changes in changed.values() for each in changes]:
            TOLD.labels(cause=change.cause).inc()
        return len(due)

    async def _streams(
        self, model: ScoringModel, changed: dict[UUID, list[Change]]
    ) -> list[StreamAppend]:
        streams = {band_stream(model, customer_id): customer_id for customer_id in changed}
        versions = await self._log.versions(streams)
        return [
            StreamAppend(
                stream_id,
                versions.get(stream_id, 0),
                tuple(
                    NewEvent(
                        band_changed(model, customer_id, change), new_id(), change.at, customer_id
                    )
                    for change in changed[customer_id]
                ),
            )
            for stream_id, customer_id in streams.items()
        ]


def look_again(model: ScoringModel, customer_ids: Sequence[UUID]) -> Statement:
    """Says that the scores of these customers moved: their bands are to be looked at."""
    return Statement(MARK, (model.model_id, list(customer_ids)))


def band_stream(model: ScoringModel, customer_id: UUID) -> UUID:
    """The stream of a customer's bands; versions of a model go on in the same one."""
    return derived_id(BANDS, model.name, str(customer_id))


def band_changed(model: ScoringModel, customer_id: UUID, change: Change) -> BandChanged:
    return BandChanged(
        customer_id=customer_id,
        model=model.name,
        model_version=model.version,
        was=change.was,
        band=change.band,
        at=change.at,
        cause=change.cause,
    )


def _moved_on(model: ScoringModel, due: Sequence[Told], present: Sequence[InBand]) -> Statement:
    return Statement(
        MOVE_ON,
        (
            model.model_id,
            [one.customer_id for one in due],
            [one.changes for one in due],
            [one.name for one in present],
            [one.until for one in present],
        ),
    )
