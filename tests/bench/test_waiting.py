from __future__ import annotations

from uuid import UUID

from tests.bench.peers.waiting import Watch, occurrences

ADA, BOB = UUID(int=1), UUID(int=2)


def test_an_event_is_known_by_whose_it_is_and_which_of_theirs():
    assert occurrences([ADA, BOB, ADA]) == [(ADA, 1), (BOB, 1), (ADA, 2)]


def test_an_event_is_seen_with_the_first_state_that_counts_it():
    watch = Watch()

    watch.saw(ADA, 1, at=10.0)
    watch.saw(ADA, 3, at=11.0)  # the state between was never written
    watch.saw(BOB, 1, at=11.5)
    watch.saw(ADA, 2, at=12.0)  # an old one, sent again after a kill

    assert watch.seen == {ADA: [10.0, 11.0, 11.0], BOB: [11.5]}
