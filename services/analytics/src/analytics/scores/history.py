"""Reading what a score rests on: the rows that are shown and the facts behind, in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analytics.customers.facts import ever_heard, read_facts
from analytics.customers.groups import Group, Link, group_of
from analytics.customers.links import read_links
from analytics.engagement.engagement import read_sums
from analytics.engagement.sums import Sums, together

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    import asyncpg
    from crm_store.log.logged import LoggedEvent

    from analytics.engagement.model import ScoringModel


@dataclass(frozen=True, slots=True)
class Score:
    """A customer's group and its sums, as the rows stand."""

    customer_id: UUID
    links: tuple[Link, ...]  # open ones; in a history, closed ones as well
    sums_by_id: Mapping[UUID, Sums]

    def group(self, *, known_at: datetime | None = None) -> Group:
        return group_of(self.customer_id, self.links, known_at=known_at)

    @property
    def sums(self) -> Sums:
        return together(self.sums_by_id.values())


@dataclass(frozen=True, slots=True)
class History:
    """A score and every fact that was folded into it, also by those no longer linked."""

    score: Score
    facts: tuple[LoggedEvent[Any], ...]  # in no order

    def of(self, group: Group) -> list[LoggedEvent[Any]]:
        members = set(group.members)
        return [fact for fact in self.facts if fact.partition_key in members]


async def read_score(pool: asyncpg.Pool, model: ScoringModel, customer_id: UUID) -> Score | None:
    """The score of a customer with those linked to it; None for one never heard of.

    Raises GroupTooLargeError.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        return await _score(connection, model, customer_id)


async def read_history(
    pool: asyncpg.Pool, model: ScoringModel, customer_id: UUID
) -> History | None:
    """The score and its facts, in one snapshot; None for a customer never heard of.

    Raises HistoryTooLongError, GroupTooLargeError.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        score = await _score(connection, model, customer_id, closed=True)
        if score is None:
            return None
        ids = {customer_id}
        for link in score.links:
            ids |= {link.customer_id, link.into_id}
        facts = await read_facts(
            connection,
            sorted(ids),
            projection=model.projection,
            version=model.version,
            types=model.types,
            decoded=model.decoded_types,
        )
    return History(score, facts)


async def _score(
    connection: Any,  # noqa: ANN401  # asyncpg wraps what a pool hands out
    model: ScoringModel,
    customer_id: UUID,
    *,
    closed: bool = False,
) -> Score | None:
    links = await read_links(connection, [customer_id], closed=closed)
    members = group_of(customer_id, links).members
    sums = await read_sums(connection, model.model_id, members)
    if not sums and not links and not await ever_heard(connection, members):
        return None
    return Score(customer_id, tuple(links), sums)
