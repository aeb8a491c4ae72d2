"""An aggregate as pure functions: what is decided, what follows, and what shall happen in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from crm_store.ids import derived_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from crm_events.base import Event
    from crm_store.log.logged import LoggedEvent

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Timer:
    """Something that a stream shall be told at an instant, unless it changes its mind.

    A stream has one timer of a name at most.
    """

    name: str
    due_at: datetime  # aware


def _no_timers(_: Any) -> tuple[Timer, ...]:  # noqa: ANN401  # of any state
    return ()


def _no_ring(stream_id: UUID, timer: Timer) -> Any:  # noqa: ANN401  # never returns
    raise LookupError(f"stream {stream_id} has no timer {timer.name}")


@dataclass(frozen=True)  # with slots, `Decider[C, S](...)` would raise in Python 3.11
class Decider(Generic[C, S]):
    """One kind of stream. All functions are pure and total.

    `decide` gives the events that follow from a command, or raises a `Refusal`; `evolve` the state
    after an event; `timers` those that a stream in this state has; `ring` the command that a timer
    stands for. `evolve` is given the event with the instant it occurred at.

    Timers can be made anew from the log, so a kind that has some names what its streams begin with,
    and a `basis`: what timers follow from beside the state, in a text that changes with it.
    """

    name: str  # of the kind of stream; timers are kept under it, so it never changes
    initial: S
    decide: Callable[[C, S], tuple[Event, ...]]
    evolve: Callable[[S, Event, datetime], S]
    partition_key: Callable[[Event], UUID]
    """Of a stream by its first event: the customer it was born with, else the stream's id."""
    opens: bool = False
    """Do its decisions read personal fields?"""
    timers: Callable[[S], tuple[Timer, ...]] = _no_timers
    ring: Callable[[UUID, Timer], C] = _no_ring
    begins: tuple[type[Event], ...] = ()
    basis: str = ""

    def __post_init__(self) -> None:
        if self.timers is not _no_timers and not self.begins:
            raise TypeError(f"{self.name} has timers: name the events that its streams begin with")


@dataclass(frozen=True)  # as above
class Directive(Generic[C, S]):
    """A command for a stream."""

    decider: Decider[C, S]
    stream_id: UUID
    command: C


def opened_by(reaction: UUID, cause: LoggedEvent[Any]) -> UUID:
    """The id of a stream that a reaction opens because of an event: the same however often."""
    return derived_id(reaction, str(cause.event_id))
