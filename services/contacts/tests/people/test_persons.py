"""People as they are loaded: whole once, and from where they were left for a minute."""

from __future__ import annotations

from uuid import UUID

import pytest
from contacts.people.persons import Persons
from crm_events.topics import CONTRACT
from crm_store.keyring import Keyring
from crm_store.log.append import Log


class Loading:
    """Persons whose clock a test sets and whose opened events it counts."""

    def __init__(self, contacts):
        self.now = 1000.0
        self.opened = 0
        keyring = Keyring(contacts.pool, contacts.settings.keks, monotonic=lambda: self.now)
        self.log = Log(
            pool=contacts.pool,
            contract=CONTRACT,
            keyring=keyring,
            clock=contacts.core.clock,
            wakeups=contacts.core.wakeups,
        )
        self.persons = Persons(pool=contacts.pool, log=self, monotonic=lambda: self.now)

    async def logged(self, rows, *, opens):
        self.opened += len(rows)
        return await self.log.logged(rows, opens=opens)

    async def load(self, *customer_ids):
        """Who was loaded, and how many events were opened for it."""
        before = self.opened
        return await self.persons.load(customer_ids), self.opened - before


@pytest.fixture
def loading(contacts):
    return Loading(contacts)


async def identified(contacts, user, *names):
    for name in names:
        await contacts.send({"type": "identify", "userId": user, "traits": {"name": name}})
    registered = await contacts.events("contacts.person.registered")
    return registered[-1].customer_id


async def test_only_later_events_are_opened_for_a_person_who_was_loaded(contacts, loading):
    ann = await identified(contacts, "ann", "A", "B", "C")
    first, opened = await loading.load(ann)
    assert (first[ann].person.profile, first[ann].version, opened) == ({"name": "C"}, 3, 3)

    await identified(contacts, "ann", "D")
    then, opened = await loading.load(ann)

    assert (then[ann].person.profile, then[ann].version, opened) == ({"name": "D"}, 4, 1)
    assert (await loading.load(ann)) == (then, 0)


async def test_a_person_is_kept_for_a_minute_however_often_they_are_asked_for(contacts, loading):
    ann = await identified(contacts, "ann", "A", "B")
    await loading.load(ann)
    loading.now += 59
    await loading.load(ann)

    loading.now += 1
    loaded, opened = await loading.load(ann)

    assert (loaded[ann].version, opened) == (2, 2)


async def test_so_many_people_are_kept_and_no_more(contacts, loading, monkeypatch):
    monkeypatch.setattr("contacts.people.persons.KEPT_MOST", 1)
    ann = await identified(contacts, "ann", "A")
    bob = await identified(contacts, "bob", "B")
    await loading.load(ann)

    both, opened = await loading.load(ann, bob)
    assert (both.keys(), opened) == ({ann, bob}, 1)

    assert (await loading.load(bob))[1] == 0
    assert (await loading.load(ann))[1] == 1


async def test_values_of_an_erased_person_are_not_kept(contacts, loading):
    ann = await identified(contacts, "ann", "A", "B")
    await loading.load(ann)
    loading.now += 59
    loading.persons = Persons(pool=contacts.pool, log=loading, monotonic=lambda: loading.now)
    await loading.load(ann)  # with a key that has been in memory for 59 s
    await contacts.pool.execute("update subject_key set destroyed = now(), wrapped = null")

    loading.now += 1
    loaded, _ = await loading.load(ann)

    assert (dict(loaded[ann].person.profile), loaded[ann].person.identifiers) == ({}, frozenset())


async def test_a_long_history_is_loaded_step_by_step(contacts, loading, monkeypatch):
    monkeypatch.setattr("contacts.people.persons.STEP_EVENTS", 2)
    ann = await identified(contacts, "ann", *"ABCDE")

    loaded, opened = await loading.load(ann)

    assert (loaded[ann].person.profile, loaded[ann].version, opened) == ({"name": "E"}, 5, 5)


async def test_nobody_is_loaded_under_an_unknown_id(loading):
    assert await loading.load(UUID(int=1)) == ({}, 0)
