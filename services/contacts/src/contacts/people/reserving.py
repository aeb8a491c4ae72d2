"""What contacts reserves for people, made again from their events when those come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm_events.contacts import PersonIdentified, PersonRegistered
from crm_events.errors import MissingKeyError
from crm_store.log.entries import Reservation

from contacts.people.identifiers import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import asyncpg
    from crm_events.base import Event
    from crm_store.log.append import Log


class Reserved:
    """Identifiers that events gave to people. Of an erased person nothing is reserved."""

    def __init__(self, *, log: Log, digest_key: bytes) -> None:
        self._log = log
        self._digest_key = digest_key

    @property
    def types(self) -> Sequence[str]:
        """The events that give identifiers."""
        return (PersonRegistered.type, PersonIdentified.type)

    async def reservations(self, rows: Sequence[asyncpg.Record]) -> Sequence[Reservation]:
        """Those of the events of log rows, but of people whose keys are lost."""
        reservations: list[Reservation] = []
        for entry in await self._log.logged(rows, opens=True):
            try:
                event = entry.event
            except MissingKeyError:
                continue  # nobody can read any more what they were known by
            reservations += self._of(event)
        return reservations

    def _of(self, event: Event) -> Iterator[Reservation]:
        match event:
            case PersonRegistered():
                given, holder = event.identifiers, event.customer_id
            case PersonIdentified():
                given, holder = (event.identifier,), event.customer_id
            case _:
                return
        for one in given:
            if isinstance(one.value, str):
                key = digest(one.namespace, one.value, key=self._digest_key)
                yield Reservation(one.namespace, key, holder)
