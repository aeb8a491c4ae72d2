"""Which customer ids are one person, now or as it was known at an instant. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, assert_never

from crm_events.contacts import PersonLinked, PersonUnlinked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from crm_store.log.logged import LoggedEvent

LinkKey = tuple["UUID", "UUID"]
"""(customer id, the one it was linked into)."""


@dataclass(frozen=True, slots=True)
class Link:
    """`customer_id` was part of `into_id` during each period; an open one has no end."""

    customer_id: UUID
    into_id: UUID
    periods: tuple[tuple[datetime, datetime | None], ...] = ()

    @property
    def linked(self) -> bool:
        return bool(self.periods) and self.periods[-1][1] is None

    def known_at(self, at: datetime) -> bool:
        """Had we heard at that instant that they are one, and not yet that they are not?"""
        return any(since <= at and (until is None or until > at) for since, until in self.periods)


@dataclass(frozen=True, slots=True)
class Group:
    """Ids that are one person; `root` is the one the others were linked into."""

    root: UUID
    members: tuple[UUID, ...]  # by id, the root among them


def fold_links(
    rows: Mapping[LinkKey, Link],
    logged: Iterable[LoggedEvent[PersonLinked | PersonUnlinked]],
) -> dict[LinkKey, Link]:
    """The links that events change, by (customer, into); times are those of recording."""
    changed: dict[LinkKey, Link] = {}
    for each in logged:
        key = link_key(each)
        before = changed.get(key) or rows.get(key) or Link(*key)
        match each.event:
            case PersonLinked():
                after = _open(before, each.recorded_at)
            case PersonUnlinked():
                after = _close(before, each.recorded_at)
            case _:
                assert_never(each.event)
        if after is not before:
            changed[key] = after
    return changed


def link_key(logged: LoggedEvent[Any]) -> LinkKey:
    """Which link an event is about."""
    event: PersonLinked | PersonUnlinked = logged.event
    match event:
        case PersonLinked():
            return event.customer_id, event.into
        case PersonUnlinked():
            return event.customer_id, event.was_into
        case _:
            assert_never(event)


def group_of(
    customer_id: UUID, links: Iterable[Link], *, known_at: datetime | None = None
) -> Group:
    """The group of a customer: now, or as it was known at an instant.

    The root is the member that is linked into no other. Where links run in a circle (which
    contacts does not decide), it is the smallest id.
    """
    neighbours: dict[UUID, set[UUID]] = {}
    bound: set[UUID] = set()
    for link in links:
        if link.linked if known_at is None else link.known_at(known_at):
            neighbours.setdefault(link.customer_id, set()).add(link.into_id)
            neighbours.setdefault(link.into_id, set()).add(link.customer_id)
            bound.add(link.customer_id)
    members = {customer_id}
    ahead = [customer_id]
    while ahead:
        found = neighbours.get(ahead.pop(), set()) - members
        members |= found
        ahead += found
    return Group(min(members - bound or members), tuple(sorted(members)))


def _open(link: Link, at: datetime) -> Link:
    return link if link.linked else replace(link, periods=(*link.periods, (at, None)))


def _close(link: Link, at: datetime) -> Link:
    if not link.linked:
        return link
    return replace(link, periods=(*link.periods[:-1], (link.periods[-1][0], at)))
