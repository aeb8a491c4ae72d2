"""The subject keys this service holds: read in one statement, kept in memory for a minute."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

from crm_events.errors import UnwrapError
from crm_events.keys import Destroyed, Kek, unwrap

from crm_store.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import asyncpg

KEPT_SECONDS: Final = 60.0
KEPT_MOST: Final = 50_000
ASKED_AT_ONCE: Final = 64
"""Callers whose missing keys are read together."""
READ: Final = "select key_id, wrapped, destroyed from subject_key where key_id = any($1)"


class Keyring:
    """Opens wrapped keys of table `subject_key`; a key lives in memory at most 60 s."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        keks: Iterable[Kek],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._keks: Mapping[str, Kek] = {kek.kek_id: kek for kek in keks}
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, bytes | Destroyed]] = {}
        self._reading = Sharing(self._read, most=ASKED_AT_ONCE)

    async def keys(self, key_ids: Iterable[str]) -> dict[str, bytes | Destroyed]:
        """The keys of those subjects that are known here; the unknown are missing.

        Raises:
            UnwrapError: a key is wrapped under a key-encryption key this service was not given.
        """
        now = self._monotonic()
        found: dict[str, bytes | Destroyed] = {}
        missing: list[str] = []
        for key_id in key_ids:
            kept = self._kept.get(key_id)
            if kept is not None and kept[0] > now:
                found[key_id] = kept[1]
            else:
                missing.append(key_id)
        if missing:
            read = await self._reading.ask(missing)
            for key_id in missing:
                key = read.get(key_id)
                if isinstance(key, UnwrapError):
                    raise key
                if key is not None:
                    found[key_id] = key
        return found

    async def _read(
        self, asked: Sequence[Sequence[str]]
    ) -> Sequence[Mapping[str, bytes | Destroyed | UnwrapError]]:
        """Read the keys that several callers miss, and keep them; each gets all of them."""
        now = self._monotonic()
        read: dict[str, bytes | Destroyed | UnwrapError] = {}
        for row in await self._pool.fetch(READ, list(itertools.chain.from_iterable(asked))):
            key_id = row["key_id"]
            if row["destroyed"] is not None:
                read[key_id] = key = Destroyed(row["destroyed"])
            else:
                try:
                    read[key_id] = key = unwrap(row["wrapped"], key_id=key_id, keks=self._keks)
                except UnwrapError as error:  # of those who asked for this one alone
                    read[key_id] = error
                    continue
            self._keep(key_id, key, now)
        return [read] * len(asked)

    def remember(self, key_id: str, material: bytes) -> None:
        """A key that was minted here and is about to be stored by the appending transaction."""
        self._keep(key_id, material, self._monotonic())

    def _keep(self, key_id: str, key: bytes | Destroyed, now: float) -> None:
        if len(self._kept) >= KEPT_MOST:
            self._kept = {k: v for k, v in self._kept.items() if v[0] > now}
            if len(self._kept) >= KEPT_MOST:
                self._kept.clear()
        self._kept[key_id] = (now + KEPT_SECONDS, key)
