"""Who is who, as messages tell it one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from uuid import UUID

import pytest
from contacts.collector.identity import follow
from contacts.collector.segment import Arrival, read_message
from contacts.people.decider import MAX_PROFILE_FIELDS, ProfileTooLarge, UnlinkPerson
from contacts.people.draft import Cause, Draft
from crm_events.contacts import (
    LinkReason,
    Namespace,
    PersonChanged,
    PersonIdentified,
    PersonLinked,
    PersonRegistered,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
CAUSE = Cause(NOW, {"causationid": str(UUID(int=7))})


class World:
    """A draft that messages are followed on, one by one."""

    def __init__(self):
        ids = count(1)
        self.draft = Draft(
            holders={},
            people={},
            epoch=1,
            digest_key=b"k" * 32,
            mint_id=lambda: UUID(int=next(ids)),
        )

    def tell(self, kind, **call):
        arrival = Arrival(
            source="shop",
            received_at=NOW,
            sent_at=None,
            mint_id=lambda: UUID(int=5),
            currency="EUR",
        )
        call.setdefault("event", "Clicked")
        message = read_message({"type": kind, **call}, kind=None, arrival=arrival)
        return follow(message, self.draft, cause=CAUSE)

    def events(self, *kinds):
        return [
            new.event
            for stream in self.draft.streams
            for new in stream.events
            if isinstance(new.event, kinds)
        ]

    def links(self):
        return [(one.customer_id, one.into, one.reason) for one in self.events(PersonLinked)]


@pytest.fixture
def world():
    return World()


def test_an_unknown_sender_is_registered_once(world):
    first = world.tell("track", userId="u")
    again = world.tell("page", userId="u")

    assert first == again
    assert len(world.events(PersonRegistered)) == 1


def test_a_user_and_a_visitor_with_the_same_id_are_two(world):
    assert world.tell("track", userId="x") != world.tell("track", anonymousId="x")


def test_a_tracked_event_tells_nothing_about_who_is_who(world):
    visitor = world.tell("track", anonymousId="a")

    user = world.tell("track", userId="u", anonymousId="a")

    assert user != visitor
    assert world.links() == []


def test_a_first_identify_registers_with_everything_it_tells(world):
    world.tell("identify", userId="u", anonymousId="a", traits={"email": "A@x.test", "age": 3})

    [registered] = world.events(PersonRegistered)
    assert [(one.namespace, one.value) for one in registered.identifiers] == [
        (Namespace.USER, "u"),
        (Namespace.ANONYMOUS, "a"),
        (Namespace.MAIL, "a@x.test"),
    ]
    assert registered.profile == {"email": "A@x.test", "age": 3}


def test_an_anonymous_history_is_linked_into_the_person_who_identifies(world):
    visitor = world.tell("page", anonymousId="a")

    user = world.tell("identify", userId="u", anonymousId="a")

    assert world.links() == [(visitor, user, LinkReason.IDENTIFIED)]


def test_an_unknown_visitor_id_becomes_the_users(world):
    user = world.tell("track", userId="u")

    world.tell("identify", userId="u", anonymousId="a")

    [added] = world.events(PersonIdentified)
    assert (added.customer_id, added.identifier.value) == (user, "a")
    assert world.tell("track", anonymousId="a") == user


def test_a_device_that_two_people_use_stays_with_the_first(world):
    world.tell("page", anonymousId="a")
    first = world.tell("identify", userId="u1", anonymousId="a")

    second = world.tell("identify", userId="u2", anonymousId="a")

    assert [into for _, into, _ in world.links()] == [first]
    assert second != first


def test_a_visitor_id_that_is_another_users_is_not_taken(world):
    world.tell("identify", userId="u1", anonymousId="a")

    world.tell("identify", userId="u2", anonymousId="a")

    assert world.links() == []


def test_who_was_known_by_mail_alone_is_linked_into_the_user(world):
    known = world.tell("identify", traits={"email": "a@x.test"})

    user = world.tell("identify", userId="u", traits={"email": "A@X.test"})

    assert world.links() == [(known, user, LinkReason.SAME_MAIL)]


def test_a_mail_that_another_user_has_links_nobody(world):
    world.tell("identify", userId="u1", traits={"email": "a@x.test"})

    user = world.tell("identify", userId="u2", traits={"email": "a@x.test"})

    assert world.links() == []
    assert world.draft.person(user).profile == {"email": "a@x.test"}
    assert not world.draft.person(user).known_by(Namespace.MAIL)


def test_new_traits_change_the_profile_and_the_same_ones_do_not(world):
    world.tell("identify", userId="u", traits={"name": "Ann"})

    world.tell("identify", userId="u", traits={"name": "Ann"})
    world.tell("identify", userId="u", traits={"name": "Anne"})

    assert [one.profile for one in world.events(PersonChanged)] == [{"name": "Anne"}]


def test_an_identify_that_is_told_twice_decides_nothing_twice(world):
    world.tell("page", anonymousId="a")
    told = {"userId": "u", "anonymousId": "a", "traits": {"email": "a@x.test"}}
    world.tell("identify", **told)
    events = len(world.events(object))

    world.tell("identify", **told)

    assert len(world.events(object)) == events


def test_an_alias_links_the_former_id_into_the_present_one(world):
    former = world.tell("track", anonymousId="a")

    present = world.tell("alias", userId="u", previousId="a")

    assert world.links() == [(former, present, LinkReason.ALIASED)]


def test_an_alias_also_links_a_former_user(world):
    former = world.tell("track", userId="old")

    present = world.tell("alias", userId="new", previousId="old")

    assert world.links() == [(former, present, LinkReason.ALIASED)]


def test_an_alias_of_an_id_nobody_had_adds_it(world):
    present = world.tell("alias", userId="u", previousId="a")

    assert world.tell("track", anonymousId="a") == present


def test_aliases_close_no_circle(world):
    first = world.tell("track", userId="1")
    second = world.tell("alias", userId="2", previousId="1")

    world.tell("alias", userId="1", previousId="2")

    assert world.links() == [(first, second, LinkReason.ALIASED)]


def test_aliases_of_three_close_no_circle(world):
    world.tell("alias", userId="2", previousId="1")
    world.tell("track", userId="3")
    world.tell("alias", userId="3", previousId="2")
    world.tell("track", userId="1")

    world.tell("alias", userId="1", previousId="3")

    ends = {customer_id: into for customer_id, into, _ in world.links()}
    assert not set(ends.values()) <= set(ends)


def test_a_line_that_a_link_was_decided_on_must_not_move_meanwhile(world):
    world.tell("page", anonymousId="a")
    top = world.tell("track", userId="top")
    middle = world.tell("track", userId="middle")
    world.tell("alias", userId="top", previousId="middle")

    world.tell("identify", userId="middle", anonymousId="a")

    assert {top, middle} <= {one.stream_id for one in world.draft.streams}


def test_a_link_that_was_taken_back_can_be_made_anew(world):
    visitor = world.tell("page", anonymousId="a")
    world.tell("identify", userId="u1", anonymousId="a")
    world.draft.apply(UnlinkPerson(visitor), CAUSE)

    second = world.tell("identify", userId="u2", anonymousId="a")

    assert world.links()[-1] == (visitor, second, LinkReason.IDENTIFIED)


def test_traits_that_burst_a_profile_refuse_the_message_and_decide_nothing(world):
    world.tell("identify", userId="u", traits={str(n): n for n in range(MAX_PROFILE_FIELDS)})
    events = len(world.events(object))

    with pytest.raises(ProfileTooLarge):
        world.tell("identify", userId="u", anonymousId="a", traits={"more": 1})

    assert len(world.events(object)) == events


def test_every_decision_names_its_cause(world):
    world.tell("identify", userId="u", traits={"name": "Ann"})

    [stream] = world.draft.streams
    assert [new.meta for new in stream.events] == [CAUSE.meta]
    assert world.draft.cause_of(stream.events[0].event_id) == UUID(int=7)
