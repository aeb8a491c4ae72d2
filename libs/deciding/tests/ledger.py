"""An aggregate for the chassis' tests: a ledger of notes, which may ask to be told something."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from crm_deciding.decider import Decider, Directive, Timer, opened_by
from crm_deciding.reacting import KeyedReaction
from crm_deciding.reaction import Reaction
from crm_deciding.refusal import Refusal
from crm_events.base import Event
from crm_projections.projector import Projector
from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.log.append import Log
from crm_store.log.logged import LoggedEvent
from probe import Counted, Named, Noted, Probe
from summing import HeldLease

SHARED = UUID("0190f0f0-0000-7000-8000-00000000000a")
"""A ledger that many events are noted in."""
REACTION = UUID("2f3c9d0e-7a4c-4a1b-9d57-6f2f0a3b1c55")


class NotWanted(Refusal):
    """Thirteen is not written down."""


@dataclass(frozen=True, slots=True)
class Note:
    note: str


@dataclass(frozen=True, slots=True)
class Ledger:
    notes: tuple[str, ...] = ()
    remind_at: datetime | None = None


def decide(command: Note, state: Ledger) -> tuple[Event, ...]:
    if command.note == "13":
        raise NotWanted
    if command.note == "name":
        return (Named(name="Ada"),)
    if command.note == "reminded" and state.remind_at is None:
        raise NotWanted("nobody asked for it")
    return () if command.note == "nothing" else (Noted(note=command.note),)


def evolve(state: Ledger, event: Event, at: datetime) -> Ledger:
    """A note "in <n>" asks to be reminded so many hours later, any other clears that."""
    if not isinstance(event, Noted):
        return state
    asks = event.note.startswith("in ")
    remind_at = at + timedelta(hours=int(event.note[3:])) if asks else None
    return replace(state, notes=(*state.notes, event.note), remind_at=remind_at)


LEDGER = Decider[Note, Ledger](
    name="ledger",
    initial=Ledger(),
    decide=decide,
    evolve=evolve,
    partition_key=lambda _: SHARED,
    timers=lambda state: () if state.remind_at is None else (Timer("remind", state.remind_at),),
    ring=lambda _, timer: Note(f"{timer.name}ed"),
    begins=(Noted, Named),
    basis="hours",
)


def noting(*, version: int = 1, breaks_at: int | None = 99) -> Reaction:
    """Notes each number: 7 in the shared ledger, others in one of their own; a name for 5."""
    reaction = Reaction("noting", REACTION, version=version)

    @reaction.on(Counted)
    def note(entry: LoggedEvent[Any]) -> Iterable[Directive[Any, Any]]:
        number = entry.event.number
        if number == breaks_at:
            raise ValueError(f"{number} cannot be noted")
        stream = SHARED if number == 7 else opened_by(REACTION, entry)
        return [Directive(LEDGER, stream, Note("name" if number == 5 else str(number)))]

    return reaction


def reacting(probe: Probe, reaction: Reaction, *, log: Log | None = None) -> Projector:
    keyed = KeyedReaction(probe.pool, reaction, log=log or probe.log, clock=utc_now, mint_id=new_id)
    return Projector(
        pool=probe.pool,
        log=probe.log,
        models=(),
        keyed=[keyed],
        lease=HeldLease(),
        wake=probe.wakeups.subscribe(),
        clock=utc_now,
    )


async def notes(probe: Probe) -> list[str]:
    """All that is written down, in log order."""
    rows = await probe.pool.fetch(
        "select l.data ->> 'note' as note from log l where l.type = 'probe.thing.noted' "
        "order by l.epoch, l.xid, l.gp"
    )
    return [row["note"] for row in rows]
