"""`recover`: what Kafka has of this service and its log lacks becomes own rows again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from crm_store.log import epochs

from crm_kafka.restore.comparing import compare
from crm_kafka.restore.inserting import CannotRecoverError, Inserting
from crm_kafka.restore.keys import copy_keys
from crm_kafka.restore.reading import own_records
from crm_kafka.topics import ensure_topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    import asyncpg
    from crm_events.topics import Contract

    from crm_kafka.restore.comparing import Comparison
    from crm_kafka.restore.inserting import Reserves
    from crm_kafka.restore.reading import OwnRecords

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done. `reserved` counts reservations that were missing.

    `lost_keys` counts subject keys that were in no backup and had not reached Kafka: what is
    sealed under them reads as erased from now on.
    """

    records: int
    reserved: int
    lost_keys: int
    epoch: int


class Recovering:
    """Inserts what the log lacks, in order and with the numbers it had, then opens the log.

    It may be killed at any point, and run again.
    """

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        contract: Contract,
        service: str,
        bootstrap: str,
        replication_factor: int,
        min_insync: int,
        keeps_keys: bool = False,
        reserves: Reserves | None = None,
        before_it_opens: Callable[[], Awaitable[None]] | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_it_opens` makes anew what follows from the whole log, not from each event."""
        self._pool = pool
        self._private = tuple(event.type for event in contract.private)
        self._topics = contract.published_by(service)
        self._service = service
        self._bootstrap = bootstrap
        self._replication_factor = replication_factor
        self._min_insync = min_insync
        self._keeps_keys = keeps_keys
        self._reserves = reserves
        self._before_it_opens = before_it_opens
        self._beat = beat

    @property
    def private(self) -> Sequence[str]:
        """Event types that are never published, and so cannot come back from Kafka."""
        return self._private

    async def compare(self) -> Comparison:
        """What is missing. Writes nothing.

        Raises:
            DivergedError, HoleError: the log cannot be made whole from Kafka.
        """
        return await self._compare(await epochs.newest(self._pool))

    async def recover(self) -> Recovered:
        """Make the log whole, and open it.

        Raises:
            CannotRecoverError: another `recover` is under way, a record cannot be a row, or a
                row is there already under another number.
            DivergedError, HoleError: the log cannot be made whole from Kafka.
        """
        await ensure_topics(
            self._bootstrap,
            self._topics,
            replication_factor=self._replication_factor,
            min_insync=self._min_insync,
        )
        newest = await epochs.newest(self._pool)
        found = await self._compare(newest)
        if newest.open and not found.missing:
            return Recovered(0, 0, 0, newest.epoch)
        if newest.open:
            await epochs.close(self._pool, newest, missing=found.missing, beat=self._beat)
            found = await self.compare()  # the log stands still now
        if not newest.awaits_recover:
            await epochs.begin(self._pool, newest, missing=max(1, found.missing))
            newest = await epochs.newest(self._pool)
        if not newest.awaits_recover:
            raise CannotRecoverError("the server was exchanged meanwhile: run it again")
        _logger.warning("log.recovering", epoch=newest.epoch, missing=found.missing)
        if self._keeps_keys:
            await copy_keys(self._pool, self._bootstrap, service=self._service, beat=self._beat)
        recovered = await self._insert(newest.epoch, found)
        if self._before_it_opens is not None:
            await self._before_it_opens()
        if not await epochs.settle(self._pool, newest.epoch):
            raise CannotRecoverError("the server was exchanged meanwhile: run it again")
        _logger.warning(
            "log.recovered",
            epoch=newest.epoch,
            records=recovered.records,
            reserved=recovered.reserved,
            lost_keys=recovered.lost_keys,
        )
        return recovered

    async def _compare(self, newest: epochs.Newest) -> Comparison:
        async with self._records() as records:
            return await compare(self._pool, records, self._topics, closed=not newest.open)

    async def _insert(self, epoch: int, found: Comparison) -> Recovered:
        work = Inserting(
            self._pool,
            reserves=self._reserves,
            keeps_keys=self._keeps_keys,
            epoch=epoch,
            found=found,
        )
        if found.missing:
            async with self._records() as records:
                await records.look(self._topics)
                await records.seek(found.progress.sequences, found.offsets)
                async for heard in records.in_order_of_time():
                    await work.take(heard)
                await work.write()
        return Recovered(work.records, work.reserved, work.lost_keys, epoch)

    def _records(self) -> AbstractAsyncContextManager[OwnRecords]:
        return own_records(self._bootstrap, service=self._service, beat=self._beat)


async def report(recovering: Recovering, *, dry_run: bool) -> list[str]:
    """Recover, or only look; what there is to say of it, one line each."""
    found = await recovering.compare()
    lines = [
        f"{topic} {partition}: {one.missing} records, {one.logged + 1} to {one.sent}"
        for (topic, partition), one in sorted(found.standings.items())
        if one.missing
    ]
    if recovering.private:
        lines.append(f"not published, cannot come back: {', '.join(recovering.private)}")
    if dry_run:
        return [*lines, f"{found.missing} records would come back"]
    done = await recovering.recover()
    return [
        *lines,
        f"{done.records} records came back",
        f"{done.reserved} reservations were made, {done.lost_keys} subject keys are lost",
        f"the log is open in epoch {done.epoch}",
    ]
