"""A reaction: what the service itself does about an event, written down as pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from crm_events.base import Event

    from crm_chassis.deciding.decider import Directive
    from crm_chassis.log.logged import LoggedEvent


@dataclass
class Reaction:
    """Commands that follow from events, own or heard; each event is met once, in log order.

    It acts on news: from the end of the log on when it first runs, and never on what lay in a
    topic before this service first heard it. A `version` that follows another goes on where that
    one stood. `id` names the streams it opens (`opened_by`), so it never changes.
    """

    name: str
    id: UUID
    version: int = 1
    opens: bool = False
    _reacts: dict[str, Callable[[LoggedEvent[Any]], Iterable[Directive[Any, Any]]]] = field(
        default_factory=dict[str, "Callable[[LoggedEvent[Any]], Iterable[Directive[Any, Any]]]"]
    )

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(self._reacts)

    def on(
        self, *events: type[Event]
    ) -> Callable[
        [Callable[[LoggedEvent[Any]], Iterable[Directive[Any, Any]]]],
        Callable[[LoggedEvent[Any]], Iterable[Directive[Any, Any]]],
    ]:
        """React to events of these classes by the decorated function: no clock, no id, no I/O."""

        def register(
            react: Callable[[LoggedEvent[Any]], Iterable[Directive[Any, Any]]],
        ) -> Callable[[LoggedEvent[Any]], Iterable[Directive[Any, Any]]]:
            for event in events:
                if event.type in self._reacts:
                    raise TypeError(f"{self.name} reacts to {event.type} twice")
                self._reacts[event.type] = react
            return react

        return register

    def directives(self, logged: LoggedEvent[Any]) -> tuple[Directive[Any, Any], ...]:
        """What follows from an event."""
        return tuple(self._reacts[logged.type](logged))
