"""What projections hold, against the fold in memory over what was acknowledged; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.fault import fold
from tests.fault.fold import Bought, Scored

if TYPE_CHECKING:
    from tests.fault.copies import Bearers, Counts
    from tests.fault.load import Load, Sent

Sums = tuple[float | None, float | None, int]
Standing = tuple[float | None, int]


class Scores:
    """The scores of all bearers; those of whom nothing new came are not folded again."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self._model = model
        self._known: dict[str, tuple[int, Scored]] = {}

    def of(self, load: Load, bearers: Bearers) -> dict[str, Scored]:
        """By bearer, as of what was acknowledged so far."""

        def recorded_at(fact: Sent) -> datetime:
            return bearers.recorded_at.get((fact.bearer, fact.number), fact.at)

        for bearer, facts in load.accepted.items():
            if self._known.get(bearer, (0, None))[0] != len(facts):
                self._known[bearer] = len(facts), fold.scored(facts, self._model, recorded_at)
        return {bearer: self._known[bearer][1] for bearer in load.accepted if bearer in self._known}


class Expected:
    """What every projection must hold once all that was acknowledged has come through."""

    def __init__(self, load: Load, bearers: Bearers, scores: Mapping[str, Scored]) -> None:
        self._load = load
        self._customer = bearers.customer
        self._scores = scores

    def compare_plans(self, found: Mapping[UUID, str | None], counts: Counts) -> None:
        """A profile says what was told last of whoever told anything."""
        for bearer, facts in self._load.accepted.items():
            there, right = found.get(self._customer.get(bearer)), fold.plan(facts)
            counts.found("wrong_rows", int(there != right), f"plan of {bearer}: {there}, {right}")

    def compare_links(self, found: Mapping[UUID, UUID], where: str, counts: Counts) -> None:
        customer = self._customer
        right = {customer.get(visitor): customer.get(user) for visitor, user in self._load.links}
        wrong = len(right.items() ^ found.items())
        counts.found("wrong_rows", wrong, f"{len(found)} links in {where}, {len(right)} were told")

    def compare_buying(self, found: Mapping[UUID, Bought], counts: Counts) -> None:
        self._find_strangers(found, "buying", counts)
        for bearer, facts in self._load.accepted.items():
            there, right = found.get(self._customer.get(bearer)), fold.bought(facts)
            counts.found("wrong_rows", int(there != right), f"buying of {bearer}: {there}, {right}")

    def compare_sums(self, found: Mapping[UUID, Sums], where: str, counts: Counts) -> None:
        self._find_strangers(found, where, counts)
        for bearer, right in self._scores.items():
            there = found.get(self._customer.get(bearer))
            agrees = there is not None and right.agrees(*there)
            counts.found("wrong_rows", int(not agrees), f"{where} of {bearer}: {there}, {right}")

    def compare_standings(self, found: Mapping[UUID, Standing], counts: Counts) -> None:
        """A group stands under its user alone: who was linked stands no more by themselves."""
        self._find_strangers(found, "standing", counts)
        joined = dict(self._load.links)
        groups: dict[str, list[Scored]] = {}
        for bearer, scored in self._scores.items():
            groups.setdefault(joined.get(bearer, bearer), []).append(scored)
        for bearer in self._scores:
            net = fold.net(groups.get(bearer, ()))
            right = (net, 0 if net is None else len(groups[bearer]))
            there = found.get(self._customer.get(bearer), (None, 0))
            agrees = fold.close(there[0], right[0]) and there[1] == right[1]
            said = f"standing of {bearer}: {there}, {right}"
            counts.found("wrong_rows", int(not agrees), said)

    def _find_strangers(self, found: Iterable[UUID], where: str, counts: Counts) -> None:
        """Rows of customers that nobody sent anything of."""
        strangers = sorted(set(found) - set(self._customer.values()))
        said = f"{where} of {len(strangers)} whom nobody sent: {strangers[:1]}"
        counts.found("wrong_rows", len(strangers), said)


def compare_timeline(events: int, entries: int, lacking: int, counts: Counts) -> None:
    """An entry per event: `lacking` events have none."""
    counts.found("wrong_rows", lacking, f"{lacking} events are in no timeline")
    more = max(0, entries - (events - lacking))
    counts.found("wrong_rows", more, f"{more} timeline entries too many")


def compare_people(registered: int, people: int, counts: Counts) -> None:
    """A row per person who was registered."""
    counts.found("wrong_rows", abs(registered - people), f"{people} of {registered} people")


def unseen(behind: Mapping[str, int], counts: Counts) -> None:
    """Count the rows of each service that were not folded in time: one where all were."""
    for service, count in behind.items():
        counts.found("unseen", count, f"{count} rows of {service} not folded in time")
    if not any(behind.values()):
        counts.found("unseen", 1, "not level within 60 s of the heal")


def kept_aside(kept: Sequence[int], expected: int, counts: Counts) -> None:
    """Count what is in quarantine, by service, beyond what a fault sent; also what is not there."""
    wrong = abs(sum(kept) - expected)
    counts.found("quarantined", wrong, f"{sum(kept)} kept aside, {expected} were to be")
