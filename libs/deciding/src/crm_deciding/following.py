"""What follows from events, as pure functions; each event is met once, in log order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from crm_events.base import Event
    from crm_store.log.logged import LoggedEvent

T = TypeVar("T")
F = TypeVar("F")


@dataclass
class Following(Generic[T]):
    """One thing that a service does about events, by its name.

    It is given news: from the end of the log on when it first runs, and never what lay in a topic
    before this service first heard it. A `version` that follows another goes on where that one
    stood. Ids of what follows are made with `id`, so it never changes.
    """

    name: str
    id: UUID
    version: int = 1
    opens: bool = False
    _functions: dict[str, Callable[[LoggedEvent[Any]], Iterable[T]]] = field(
        default_factory=dict[str, "Callable[[LoggedEvent[Any]], Iterable[T]]"]
    )

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(self._functions)

    def on(
        self, *events: type[Event]
    ) -> Callable[
        [Callable[[LoggedEvent[Any]], Iterable[T]]], Callable[[LoggedEvent[Any]], Iterable[T]]
    ]:
        """Ask the decorated function about events of these classes: no clock, no id, no I/O."""
        return self._asking(self._functions, events)

    def _asking(self, functions: dict[str, F], events: Iterable[type[Event]]) -> Callable[[F], F]:
        """Put the decorated function among these, for events that no function is asked about."""

        def register(function: F) -> F:
            for event in events:
                if event.type in self.types:
                    raise TypeError(f"{self.name} is told of {event.type} twice")
                functions[event.type] = function
            return function

        return register

    def follows(self, logged: LoggedEvent[Any]) -> tuple[T, ...]:
        """What follows from an event."""
        return tuple(self._functions[logged.type](logged))
