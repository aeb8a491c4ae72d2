"""People's handler: looks up, loads, and appends what was decided, with keys and reservations."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeVar

from contacts.people.decider import MAX_LINEAGE
from contacts.people.draft import Draft
from contacts.people.identifiers import digest, name_of
from contacts.people.persons import Persons

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from uuid import UUID

    import asyncpg
    from crm_events.contacts import Identifier, SubjectKeyRecord
    from crm_store.log.append import Log
    from crm_store.log.entries import Appended, Fact, Statement

    from contacts.people.draft import Loaded
    from contacts.people.identifiers import Name
    from contacts.subject_keys import SubjectKeys

REMEMBERED_HOLDERS: Final = 100_000

HOLDERS: Final = """
select r.digest, r.holder from reservation r
join unnest($1::text[], $2::bytea[]) as u(kind, digest) on r.kind = u.kind and r.digest = u.digest
"""

T = TypeVar("T")


class Registry:
    """Who holds which identifier, and what the log says about a person."""

    def __init__(  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        log: Log,
        subject_keys: SubjectKeys,
        digest_key: bytes,
        mint_id: Callable[[], UUID],
    ) -> None:
        self._pool = pool
        self._log = log
        self._subject_keys = subject_keys
        self._digest_key = digest_key
        self._mint_id = mint_id
        self._persons = Persons(pool=pool, log=log)
        # Digest to customer. Right for as long as the log keeps its epoch: a reservation never
        # moves.
        self._holders: OrderedDict[bytes, UUID] = OrderedDict()
        log.forget_with(self._forget)

    async def holders(self, identifiers: Sequence[Identifier]) -> dict[Name, UUID]:
        """Whose the identifiers are; nobody's are missing. At most one statement."""
        remembered = self._holders  # as of now, should it be replaced meanwhile
        found: dict[Name, UUID] = {}
        asked: dict[bytes, Name] = {}
        for name in map(name_of, identifiers):
            key = digest(*name, key=self._digest_key)
            known = remembered.get(key)
            if known is None:
                asked[key] = name
            else:
                remembered.move_to_end(key)
                found[name] = known
        if asked:
            kinds = [namespace for namespace, _ in asked.values()]
            for row in await self._pool.fetch(HOLDERS, kinds, list(asked)):
                found[asked[row["digest"]]] = row["holder"]
                _remember(remembered, row["digest"], row["holder"])
        return found

    async def people(self, customer_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        """The people, and everyone they are linked into; the unknown are missing."""
        loaded: dict[UUID, Loaded] = {}
        wanted = set(customer_ids)
        for _ in range(MAX_LINEAGE):
            if not wanted:
                break
            loaded |= await self._persons.load(wanted)
            parents = {one.person.into for one in loaded.values()}
            wanted = {parent for parent in parents if parent is not None} - loaded.keys()
        return loaded

    async def draft(
        self, identifiers: Sequence[Identifier] = (), *, load: Collection[UUID] = ()
    ) -> Draft:
        """A draft that knows these identifiers' holders and these people."""
        epoch = await self._log.epoch()
        holders = await self.holders(identifiers)
        return self.draft_from(holders, await self.people(load), epoch=epoch)

    def draft_from(
        self, holders: dict[Name, UUID], people: dict[UUID, Loaded], *, epoch: int
    ) -> Draft:
        """A draft on what was looked up and loaded before, in this epoch of the log."""
        return Draft(
            holders=holders,
            people=people,
            epoch=epoch,
            digest_key=self._digest_key,
            mint_id=self._mint_id,
        )

    async def confirm(self, draft: Draft) -> None:
        """Before something is refused: raises what `Log.confirm` raises."""
        await self._log.confirm(draft.epoch)

    def mint_keys(self, draft: Draft) -> dict[UUID, SubjectKeyRecord]:
        """A key for each new customer of a draft, wrapped; to be appended with it."""
        return {one: self._subject_keys.mint(str(one)) for one in draft.registered}

    async def append(
        self,
        draft: Draft,
        *,
        keys: Mapping[UUID, SubjectKeyRecord] | None = None,
        facts: Sequence[Fact] = (),
        also: Sequence[Statement] = (),
    ) -> Appended:
        """Append the draft, its customers' keys and the facts in one transaction.

        `keys`: those minted for it before; else they are now. Raises what `Log.append` raises.
        """
        remembered = self._holders
        keys = self.mint_keys(draft) if keys is None else keys
        appended = await self._log.append(
            epoch=draft.epoch,
            streams=draft.streams,
            facts=facts,
            reservations=draft.reservations,
            also=(*self._subject_keys.storing(list(keys.values())), *also),
        )
        for reservation in draft.reservations:
            _remember(remembered, reservation.digest, reservation.holder)
        return appended

    def _forget(self) -> None:
        self._holders = OrderedDict()
        self._persons.forget()


def _remember(holders: OrderedDict[bytes, UUID], key: bytes, holder: UUID) -> None:
    holders[key] = holder
    if len(holders) > REMEMBERED_HOLDERS:
        holders.popitem(last=False)
