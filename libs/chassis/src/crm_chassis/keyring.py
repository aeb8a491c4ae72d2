"""The subject keys this service holds: read in one statement, kept in memory for a minute."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from crm_events.keys import Destroyed, Kek, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import asyncpg

KEPT_SECONDS: Final = 60.0
KEPT_MOST: Final = 50_000


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
            for row in await self._pool.fetch(
                "select key_id, wrapped, destroyed from subject_key where key_id = any($1)", missing
            ):
                key_id = row["key_id"]
                found[key_id] = (
                    Destroyed(row["destroyed"])
                    if row["destroyed"] is not None
                    else unwrap(row["wrapped"], key_id=key_id, keks=self._keks)
                )
                self._keep(key_id, found[key_id], now)
        return found

    def remember(self, key_id: str, material: bytes) -> None:
        """A key that was minted here and is about to be stored by the appending transaction."""
        self._keep(key_id, material, self._monotonic())

    def _keep(self, key_id: str, key: bytes | Destroyed, now: float) -> None:
        if len(self._kept) >= KEPT_MOST:
            self._kept = {k: v for k, v in self._kept.items() if v[0] > now}
            if len(self._kept) >= KEPT_MOST:
                self._kept.clear()
        self._kept[key_id] = (now + KEPT_SECONDS, key)
