"""Present events, made into an older version while there are readers that know no newer one."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crm_events.base import Event


@dataclass(frozen=True, slots=True)
class Downcaster:
    """How the next version of an event is written as `older`, the class of the version before it.

    `of` is pure: an event of the next version in, the same fact as `older` out. What `older`
    cannot say is lost: it is not written, and no upcaster brings it back.
    """

    older: type[Event]
    of: Callable[[Any], Event]


DOWNCASTERS: Final[tuple[Downcaster, ...]] = ()
"""Those of the published events; one goes when no deployment is told to write its version."""

WRITES: Final[Mapping[str, int]] = MappingProxyType({})
"""The version of a wire type that is written until a setting names another.

An event that is not here is written in its present version.
"""


def downcast(event: Event, steps: tuple[Downcaster, ...]) -> Event:
    """Return the fact as the last of `steps` has it.

    Raises:
        TypeError: a step gave something else than it says.
    """
    for step in steps:
        event = step.of(event)
        if type(event) is not step.older:
            raise TypeError(f"a downcaster to {step.older.__name__} gave {type(event).__name__}")
    return event
