"""Who is one person with whom: links that are made and taken back."""

from __future__ import annotations

from datetime import timedelta

from analytics.customers.groups import Link, fold_links, group_of
from heard import LANDMARK, customer, heard, linked, unlinked
from hypothesis import given
from hypothesis import strategies as st


def links_of(*events):
    """The links after events, recorded a minute apart."""
    rows: dict[object, Link] = {}
    for n, event in enumerate(events):
        rows |= fold_links(rows, [heard(event, LANDMARK + timedelta(minutes=n), number=n)])
    return list(rows.values())


def test_linked_ids_are_one_group_under_the_one_linked_into():
    links = links_of(linked(3, 2), linked(2, 1))

    for number in (1, 2, 3):
        group = group_of(customer(number), links)
        assert group.root == customer(1)
        assert group.members == (customer(1), customer(2), customer(3))


def test_a_link_taken_back_leaves_each_alone():
    links = links_of(linked(2, 1), unlinked(2, 1))

    assert group_of(customer(1), links).members == (customer(1),)
    assert group_of(customer(2), links).root == customer(2)


def test_a_group_can_be_asked_for_as_it_was_known():
    links = links_of(linked(2, 1), unlinked(2, 1), linked(2, 1))

    members = [
        len(group_of(customer(1), links, known_at=LANDMARK + timedelta(minutes=n)).members)
        for n in (-1, 0, 1, 2)
    ]

    assert members == [1, 2, 1, 2]


def test_a_circle_of_links_has_the_smallest_id_as_root():
    links = links_of(linked(1, 2), linked(2, 3), linked(3, 1))

    assert group_of(customer(3), links).root == customer(1)


def test_linking_twice_changes_nothing():
    once = links_of(linked(2, 1))

    assert links_of(linked(2, 1), linked(2, 1)) == once
    assert fold_links({(customer(2), customer(1)): once[0]}, [heard(linked(2, 1), LANDMARK)]) == {}


pairs = st.lists(st.tuples(st.integers(2, 12), st.integers(1, 11)), max_size=30)


@given(pairs)
def test_every_member_sees_the_same_group(steps):
    """Each links itself into an id below its own, or takes that back."""
    seen: set[tuple[int, int]] = set()
    events = []
    for number, into in steps:
        if into >= number:
            continue
        event = unlinked(number, into) if (number, into) in seen else linked(number, into)
        seen ^= {(number, into)}
        events.append(event)
    links = links_of(*events)

    for number in range(1, 13):
        group = group_of(customer(number), links)
        assert {group_of(one, links) for one in group.members} == {group}
