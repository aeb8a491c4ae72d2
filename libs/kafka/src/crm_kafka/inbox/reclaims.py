"""Noticing that another process uses our group instance id."""

from __future__ import annotations

from collections import deque
from typing import Final

MOST_RECLAIMS: Final = 5
WITHIN_S: Final = 30.0


class InstanceTakenError(Exception):
    """Two live processes share one group instance id: each throws the other out, for ever."""

    def __init__(self, instance: str) -> None:
        super().__init__(
            f"the group instance id {instance!r} is used by another live process as well: "
            "give each replica its own"
        )
        self.instance = instance


class Reclaims:
    """Counts how often the group let this process in under a new member id.

    Rebalances keep the member id. A new one means that the old was thrown out: once after a long
    freeze, again and again when another process joins under the same instance id.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._member_id = ""
        self._at: deque[float] = deque(maxlen=MOST_RECLAIMS)

    def note(self, member_id: str, *, now: float) -> None:
        """An assignment came under this member id, at a monotonic instant in seconds.

        Raises InstanceTakenError at the fifth new member id within 30 s.
        """
        if member_id == self._member_id:
            return
        first = not self._member_id
        self._member_id = member_id
        if first:
            return
        self._at.append(now)
        if len(self._at) == MOST_RECLAIMS and now - self._at[0] <= WITHIN_S:
            raise InstanceTakenError(self._instance)
