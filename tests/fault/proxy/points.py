"""Named points round a transaction, at which a connection is held and its process can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from tests.fault.proxy.tcp import Connection, Which, every
from tests.fault.timeline import unnoted

STATEMENTS: Final = {
    # What the product's own statement holds and no other; a test holds them against the product.
    # Whatever may stand in the place of "...".
    "collector.append": (
        "insert into log (epoch, recorded_at, stream_id",
        "from log_append(",
        "from log_append_each(",
    ),
    "relay.move": ("update relay_position p",),
    "inbox.take": ("update inbox_mark m",),
    "projection.move": ("with w0 as (\nupdate projection_checkpoint set",),
    "reaction.append": (
        "with w0 as (\nupdate projection_checkpoint set...select r.*, assert_moved(",
    ),
    "timer.ring": ("with w0 as (delete from timer where stream_id...select r.*, assert_moved(",),
    "effect.mean": ("insert into intent (",),
    "effect.claim": ("update intent i set state = 'claimed'",),
    "effect.settle": ("update intent set state = $3",),
}
REACHED_SECONDS: Final = 30.0


class Where(Enum):
    """When the connection is held."""

    BEFORE = "before"  # the statement, or the records, are not passed on
    WRITTEN = "written"  # executed by the server, and not committed
    COMMITTED = "committed"  # the server's answer is not passed on


def is_of(what: str, sql: str) -> bool:
    """Is this the statement of that name?"""
    return any(all(part in sql for part in one.split("...")) for one in STATEMENTS[what])


class NotReachedError(AssertionError):
    """The point was never met: the fault did not happen, whatever came of the round."""


@dataclass(eq=False)
class Point:
    """An armed point. It fires once; the connection is held until `cut` or `resume`."""

    where: Where
    what: str
    which: Which = every
    note: Callable[[str], None] = unnoted
    _reached: asyncio.Event = field(default_factory=asyncio.Event)
    _resumed: asyncio.Event = field(default_factory=asyncio.Event)
    connection: Connection | None = None

    def __post_init__(self) -> None:
        self.note(f"point armed: {self}")

    def __str__(self) -> str:
        return f"{self.what} {self.where.value}"

    @property
    def fired(self) -> bool:
        return self.connection is not None

    def takes(self, sql: str) -> bool:
        return not self.fired and is_of(self.what, sql)

    def claim(self, connection: Connection) -> None:
        """This connection's statement is the one; nothing else fires the point."""
        self.connection = connection

    async def hold(self) -> None:
        """The point is reached: wait until it is let go."""
        if self.connection is not None:
            self.note(f"point met: {self}, at {self.connection.at}")
        self._reached.set()
        await self._resumed.wait()

    async def reached(self, within_seconds: float = REACHED_SECONDS) -> Connection:
        """Wait until a connection is held here.

        Raises:
            NotReachedError: none was in time.
        """
        try:
            async with asyncio.timeout(within_seconds):
                await self._reached.wait()
        except TimeoutError:
            raise NotReachedError(f"{self.what} was not met {self.where.value}") from None
        if self.connection is None:
            raise NotReachedError(f"{self.what} fired without a connection")
        return self.connection

    @property
    def resumed(self) -> bool:
        return self._resumed.is_set()

    def resume(self) -> None:
        """Let what was held go on, as if nothing had been."""
        self._resumed.set()
        self.note(f"point let go: {self}")

    def cut(self) -> None:
        """Reset the connection that is held."""
        if self.connection is not None:
            self.connection.reset()
            self.note(f"point cut: {self}")
