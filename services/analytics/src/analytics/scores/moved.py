"""Tells how scores move: the event `analytics.score.moved`, and the standings of groups.

A fold marks what it changed; this loop takes marks, publishes, sets standings anew and clears
the marks it took, all in one transaction. A customer is published at most once in 2 s.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from crm_events.analytics import ScoreMoved
from crm_projections.checkpoints import standing_at
from crm_store.database import pause
from crm_store.errors import LOST, backoff, is_dependency_error, sqlstate
from crm_store.ids import derived_id, new_id
from crm_store.log.entries import NewEvent, Statement, StreamAppend, VersionConflictError
from crm_store.log.tail import head
from prometheus_client import Counter

from analytics.bands.telling import look_again
from analytics.customers.groups import Group, Link, group_of
from analytics.customers.links import GroupTooLargeError, read_links
from analytics.engagement.decay import log_net
from analytics.engagement.engagement import MOVED_EVERY_SECONDS, read_sums
from analytics.engagement.sums import Sums, together
from analytics.leaders.standings import mark

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    import asyncpg
    from crm_store.clock import Clock
    from crm_store.lease import Lease
    from crm_store.log.append import Log

    from analytics.engagement.model import ScoringModel

SCORES: Final = UUID("5d5c1a0e-6a0b-5f6e-9d0f-3a1c3b0b7f11")
"""Namespace of score streams: one per model name and customer."""

MOST_PER_TURN: Final = 100
POLL_SECONDS: Final = 0.2
WITHOUT_LEASE_SECONDS: Final = 0.5
FAR_BEHIND_ROWS: Final = 20_000
"""While a fold has so much ahead of it, its scores are about to move again: publish slowly."""
FAR_BEHIND_PAUSE_SECONDS: Final = 1.0

DUE: Final = """
select customer_id, s, s_negative, counted, last_fact_at, changes, unpublished
from engagement where model_id = $1 and due_at <= now() order by due_at limit $2
"""
# Locked in the order of their ids, as the fold writes them: else the two wait for each other.
# A mark that a fold renewed meanwhile stays; one that another process took ends all of this.
CLEAR: Final = f"""
with locked as materialized (
    select from engagement
    where model_id = $1 and customer_id = any($2::uuid[]) and due_at is not null
    order by customer_id for no key update
)
update engagement e set
    moved_at = case when u.published then now() else e.moved_at end,
    unpublished = e.unpublished and e.changes <> u.changes,
    due_at = case when e.changes = u.changes then null
                  when u.published then now() + interval '{MOVED_EVERY_SECONDS} s'
                  else e.due_at end
from unnest($2::uuid[], $3::bigint[], $4::boolean[]) as u(customer_id, changes, published)
where e.model_id = $1 and e.customer_id = u.customer_id
  and assert_moved((select count(*) from locked), cardinality($2))
"""  # noqa: S608  # constants only
SET_STANDING: Final = """
insert into standing (model_id, customer_id, s_net, members)
select $1::bigint, u.* from unnest($2::uuid[], $3::float8[], $4::int[])
    as u(customer_id, s_net, members)
on conflict (model_id, customer_id) do update
    set s_net = excluded.s_net, members = excluded.members
"""
DROP_STANDING: Final = """
delete from standing where model_id = $1 and customer_id = any($2::uuid[])
"""

UNRANKED = Counter(
    "analytics_unranked_groups_total",
    "Times that linked ids were left without a rank: they are more than are taken for one person.",
)

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """A row whose standing is owed, and its event too where it is `unpublished`."""

    customer_id: UUID
    sums: Sums
    changes: int
    unpublished: bool


class Moved:
    """Publishes moved scores and keeps standings, while the lease is held."""

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        log: Log,
        models: Sequence[ScoringModel],
        lease: Lease,
        clock: Clock,
        marks_leaders: bool = False,
    ) -> None:
        """`marks_leaders`: somebody copies the standings, and is told which of them moved."""
        self._pool = pool
        self._marks_leaders = marks_leaders
        self._log = log
        self._models = tuple(models)
        self._lease = lease
        self._clock = clock

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Take what is due until `stop`."""
        attempt = 0
        while not stop.is_set():
            beat()
            if not await self._lease.wait_held(WITHOUT_LEASE_SECONDS):
                continue
            began = time.monotonic()
            try:
                taken = [await self.turn(model) for model in self._models]
                far_behind = any(taken) and await self._is_far_behind()
                attempt = 0
            except Exception as error:
                # Another process took the marks first, or something is away; all else is a bug.
                overtaken = isinstance(error, VersionConflictError) or sqlstate(error) == LOST
                if not overtaken and not is_dependency_error(error):
                    raise
                _logger.warning("moved.interrupted", error=type(error).__name__)
                await pause(stop, backoff(attempt))
                attempt += 1
                continue
            if far_behind:
                await pause(stop, FAR_BEHIND_PAUSE_SECONDS)
            elif max(taken, default=0) < MOST_PER_TURN:
                await pause(stop, POLL_SECONDS)
            else:  # never more than half of the time: the folds come first
                await pause(stop, time.monotonic() - began)

    async def turn(self, model: ScoringModel) -> int:
        """Take one batch of due marks; how many that were.

        Raises VersionConflictError, or an error with SQLSTATE KM001, when another process took
        the same marks; nothing was written then.
        """
        rows = await self._pool.fetch(DUE, model.model_id, MOST_PER_TURN)
        if not rows:
            return 0
        due = [Due(row[0], Sums(row[1], row[2], row[3], 0, row[4]), row[5], row[6]) for row in rows]
        owed = [one for one in due if one.unpublished]
        also = [_cleared(model, due), *await self._standings(model, due)]
        if model.bands and owed:
            also.append(look_again(model, [one.customer_id for one in owed]))
        await self._log.append(streams=await self._streams(model, owed), also=also)
        return len(due)

    async def _streams(self, model: ScoringModel, owed: Sequence[Due]) -> list[StreamAppend]:
        streams = {score_stream(model, one.customer_id): one for one in owed}
        versions = await self._log.versions(streams)
        at = self._clock()
        return [
            StreamAppend(
                stream_id,
                versions.get(stream_id, 0),
                (NewEvent(event, new_id(), at, one.customer_id),),
            )
            for stream_id, one in streams.items()
            if (event := score_moved(model, one)) is not None
        ]

    async def _standings(self, model: ScoringModel, due: Sequence[Due]) -> list[Statement]:
        ids = [one.customer_id for one in due]
        groups, unranked = await read_groups(self._pool, ids)
        members = {one for group in groups for one in group.members}
        sums = await read_sums(self._pool, model.model_id, members)
        statements = standings(model, groups, sums)
        if self._marks_leaders:
            statements.append(mark(model.model_id, sorted({*members, *unranked})))
        if unranked:
            UNRANKED.inc()
            _logger.error("moved.group_too_large", model=model.name, some_of_it=len(unranked))
            statements.append(Statement(DROP_STANDING, (model.model_id, sorted(unranked))))
        return statements

    async def _is_far_behind(self) -> bool:
        end = await head(self._pool)
        folded = [
            await standing_at(self._pool, model.projection, model.version) for model in self._models
        ]
        return end.gp - min(position.gp for position in folded) > FAR_BEHIND_ROWS


async def read_groups(
    pool: asyncpg.Pool, customer_ids: Sequence[UUID]
) -> tuple[list[Group], set[UUID]]:
    """The groups of those customers; and ids in groups too large to be read, which stand nowhere.

    Better no rank than that of a part.
    """
    try:
        return _apart(customer_ids, await read_links(pool, customer_ids)), set()
    except GroupTooLargeError:
        pass  # one of them may be, or all together: ask for each alone
    groups: list[Group] = []
    unranked: set[UUID] = set()
    known: set[UUID] = set()
    for one in customer_ids:
        if one in known:
            continue
        try:
            found = _apart([one], await read_links(pool, [one]))
        except GroupTooLargeError as error:
            unranked |= error.reached
            known |= error.reached
        else:
            groups += found
            known.update(*(group.members for group in found))
    return groups, unranked


def _apart(customer_ids: Sequence[UUID], links: Sequence[Link]) -> list[Group]:
    groups: list[Group] = []
    known: set[UUID] = set()
    for one in customer_ids:
        if one not in known:
            groups.append(group_of(one, links))
            known.update(groups[-1].members)
    return groups


def score_stream(model: ScoringModel, customer_id: UUID) -> UUID:
    """The stream of a customer's score; versions of a model go on in the same one."""
    return derived_id(SCORES, model.name, str(customer_id))


def score_moved(model: ScoringModel, due: Due) -> ScoreMoved | None:
    """The event that says where a customer's sums stand; None where no fact was ever counted."""
    if due.sums.last_fact_at is None:
        return None
    return ScoreMoved(
        customer_id=due.customer_id,
        model=model.name,
        model_version=model.version,
        s=due.sums.s,
        s_negative=due.sums.s_negative,
        landmark=model.landmark,
        half_life_seconds=model.decay.half_life_seconds,
        counted=due.sums.counted,
        last_fact_at=due.sums.last_fact_at,
    )


def standings(
    model: ScoringModel, groups: Sequence[Group], sums: Mapping[UUID, Sums]
) -> list[Statement]:
    """Set each group's standing under its root. Nobody else stands, and no score not above 0."""
    standing: list[tuple[UUID, float, int]] = []
    dropped: list[UUID] = []
    for group in groups:
        whole = together(sums[one] for one in group.members if one in sums)
        net = log_net(whole.s, whole.s_negative)
        if net is not None:
            standing.append((group.root, net, len(group.members)))
        dropped += [one for one in group.members if net is None or one != group.root]
    statements = [Statement(DROP_STANDING, (model.model_id, dropped))] if dropped else []
    if standing:
        columns = [list(column) for column in zip(*standing, strict=True)]
        statements.append(Statement(SET_STANDING, (model.model_id, *columns)))
    return statements


def _cleared(model: ScoringModel, due: Sequence[Due]) -> Statement:
    ids = [one.customer_id for one in due]
    published = [one.unpublished for one in due]
    changes = [one.changes for one in due]
    return Statement(CLEAR, (model.model_id, ids, changes, published))
