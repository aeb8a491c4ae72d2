"""Settling: what the relay does before it sends from a log that it has not seen before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from crm_store import metrics
from crm_store.log import epochs

from crm_kafka.restore.comparing import DivergedError, HoleError, compare
from crm_kafka.restore.keys import copy_keys
from crm_kafka.restore.reading import own_records

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg
    from crm_events.topics import Contract

TELL_EVERY_S: Final = 60.0
UNKNOWN_COUNT: Final = 1
"""Stands for how many records are missing where that cannot be counted."""

_logger = structlog.stdlib.get_logger(__name__)


class Settling:
    """Compares the log with Kafka: once in a process' life, and whenever the server is another.

    Where Kafka has nothing that the log lacks, the log is opened for writing. Else it stays
    closed until `recover` was run.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        contract: Contract,
        service: str,
        bootstrap: str,
        keeps_keys: bool = False,
    ) -> None:
        """`keeps_keys`: the subject keys are this service's own."""
        self._pool = pool
        self._topics = contract.published_by(service)
        self._service = service
        self._bootstrap = bootstrap
        self._keeps_keys = keeps_keys
        self._compared = False
        self._told_at = float("-inf")

    async def settled(self, beat: Callable[[], None]) -> bool:
        """Settle if that can be done. False: it waits for `recover`.

        Raises:
            KafkaError: no broker within the limits.
        """
        newest = await epochs.newest(self._pool)
        if newest.awaits_recover:
            self._tell(newest.missing)
            return False
        if not newest.open or not self._compared:
            missing = await self._missing(newest, beat)
            if missing:
                await self._refuse(newest, missing, beat)
                return False
            if not newest.open:
                if not await epochs.begin(self._pool, newest):
                    return False  # somebody was faster, or the server is yet another: look again
                _logger.info("log.settled", epoch=newest.epoch + 1, elsewhere=newest.elsewhere)
            self._compared = True
        metrics.LOG_SETTLED.set(1)
        metrics.LOG_MISSING_RECORDS.set(0)
        return True

    async def _missing(self, newest: epochs.Newest, beat: Callable[[], None]) -> int:
        try:
            async with own_records(self._bootstrap, service=self._service, beat=beat) as records:
                found = await compare(self._pool, records, self._topics, closed=not newest.open)
        except (DivergedError, HoleError) as error:
            _logger.error("log.cannot_be_joined", reason=str(error))  # noqa: TRY400  # no bug of ours
            return UNKNOWN_COUNT
        if not found.missing and newest.elsewhere and self._keeps_keys:
            # A key that was destroyed since the backup was taken must not come back.
            await copy_keys(self._pool, self._bootstrap, service=self._service, beat=beat)
        return found.missing

    async def _refuse(self, newest: epochs.Newest, missing: int, beat: Callable[[], None]) -> None:
        if newest.open:
            await epochs.close(self._pool, newest, missing=missing, beat=beat)
        await epochs.begin(self._pool, newest, missing=missing)
        self._tell(missing)

    def _tell(self, missing: int) -> None:
        metrics.LOG_SETTLED.set(0)
        metrics.LOG_MISSING_RECORDS.set(missing)
        now = asyncio.get_running_loop().time()
        if now - self._told_at > TELL_EVERY_S:
            self._told_at = now
            _logger.error(
                "log.waits_for_recover",
                missing=missing,
                do=f"nothing is appended until `{self._service} recover` was run",
            )
