"""A reaction: commands that follow from events, own or heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crm_store.log.logged import LoggedEvent

from crm_deciding.decider import Directive
from crm_deciding.following import Following

if TYPE_CHECKING:
    from crm_events.base import Event

OfStream = Callable[[LoggedEvent[Any], Sequence[LoggedEvent[Any]]], Iterable[Directive[Any, Any]]]
"""What follows from an event and those of its stream before it."""


@dataclass
class Reaction(Following[Directive[Any, Any]]):
    """What the service itself does about an event. Streams that it opens: see `opened_by`."""

    _of_streams: dict[str, OfStream] = field(default_factory=dict[str, OfStream])

    @property
    def types(self) -> tuple[str, ...]:
        return (*super().types, *self._of_streams)

    def on_stream(self, *events: type[Event]) -> Callable[[OfStream], OfStream]:
        """As `on`, of own events: the function is also given those of their stream before them.

        In the order of their versions, and not opened. So what follows is what the log says.
        """
        return self._asking(self._of_streams, events)

    def asks_for_stream(self, logged: LoggedEvent[Any]) -> bool:
        """Is the stream of such an event to be read?"""
        return logged.type in self._of_streams

    def follows(
        self, logged: LoggedEvent[Any], stream: Sequence[LoggedEvent[Any]] = ()
    ) -> tuple[Directive[Any, Any], ...]:
        """What follows from an event. `stream`: its own, where that is asked for, all or a part."""
        function = self._of_streams.get(logged.type)
        if function is None:
            return super().follows(logged)
        before = [one for one in stream if one.stream_version < logged.stream_version]
        return tuple(function(logged, before))
