"""How long a model waits for a subject key that is not here yet, before its customer parks."""

from __future__ import annotations

import time
from typing import Final

KEY_WAIT_S: Final = 1.0
"""Keys come by a topic of their own, mostly within milliseconds of the events they belong to."""
NO_WAIT_S: Final = 60.0
"""Where one did not come, others are not waited for: each would hold everybody up again."""


class Patience:
    """Of one model. A customer who parks for want of a key is tried again when it comes."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._over_until = float("-inf")

    @property
    def lasts(self) -> bool:
        now = time.monotonic()
        if now < self._over_until:
            return False
        return self._since is None or now - self._since < KEY_WAIT_S

    def missed(self) -> None:
        """A key was not here."""
        self._since = time.monotonic() if self._since is None else self._since

    def settled(self, *, gave_up: bool) -> None:
        """Events were taken; `gave_up`: some of them without their key."""
        self._since = None
        if gave_up:
            self._over_until = time.monotonic() + NO_WAIT_S
