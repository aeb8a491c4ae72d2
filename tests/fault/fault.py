"""What a fault is: one thing that goes wrong, and its heal, while events stream in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from tests.fault.world import World


@dataclass(frozen=True, slots=True)
class Fault:
    """`run` injects, holds and heals; it asserts that what it did took effect.

    What it finds broken beside the counts of the judge it raises as AssertionError. `needs` names
    what a machine may lack ("root"); `weight` is how often it comes in a mixed schedule, 0 for
    once at most; `spoils` says that the whole log is to be read anew afterwards.
    """

    name: str
    does: str
    run: Callable[[World, random.Random], Awaitable[None]]
    needs: frozenset[str] = frozenset()
    weight: int = 4
    spoils: bool = False
