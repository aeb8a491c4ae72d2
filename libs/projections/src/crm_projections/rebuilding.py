"""A read model built anew from the log's beginning, compared, and put in the old one's place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from crm_store.errors import LOST, backoff, sqlstate

from crm_projections.building import fold_on
from crm_projections.comparing import COMPARED_WITHIN_S, compare
from crm_projections.copying import CannotRebuildError, quoted
from crm_projections.generation import OvertakenError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import asyncpg
    from crm_store.lease import Lease

    from crm_projections.building import Tell
    from crm_projections.comparing import Compared
    from crm_projections.generation import Both, Generation
    from crm_projections.projector import Projector

MOST_TRIES: Final = 120
"""Of standing at one place with the live model, and of having its tables: about 90 s."""
LEASE_WITHIN_S: Final = 10.0
BUSY: Final = frozenset({LOST, "55P03", "40P01"})
"""SQLSTATEs of a live model that went on, and of tables that somebody uses."""
IN_USE: Final = "its tables are in use: something holds them for long"

_logger = structlog.stdlib.get_logger(__name__)


class Rebuilding:
    """Builds one generation. The live model goes on, and is never passed.

    Whatever ends the process, the live tables are as they were before the switch or as they are
    behind it; what was built is dropped, or left behind and dropped by the next rebuild.
    """

    def __init__(  # noqa: PLR0913  # collaborators, each named at the call
        self,
        *,
        pool: asyncpg.Pool,
        beside: asyncpg.Pool,
        generation: Generation,
        projector: Projector,
        lease: Lease,
        tell: Tell,
    ) -> None:
        """`beside`: its sessions look into the generation first, and `projector` folds there."""
        self._pool = pool
        self._beside = beside
        self._generation = generation
        self._projector = projector
        self._lease = lease
        self._tell = tell

    async def build(self) -> Compared:
        """Make the tables, fold the log into them up to where the live model is, and compare.

        Raises CannotRebuildError, and OvertakenError where somebody else builds by now.
        """
        await self._generation.make(self._pool)
        await self._catch_up()
        for table in self._generation.tables:
            place = f"{self._generation.schema}.{quoted(table)}"
            async with self._beside.acquire() as connection, connection.transaction():
                await connection.execute(f"set local statement_timeout = '{COMPARED_WITHIN_S}s'")
                await connection.execute("set local transaction_timeout = 0")
                await connection.execute(f"analyze {place}", timeout=COMPARED_WITHIN_S)
        return await self._compare()

    async def switch(self, *, by: str, outcome: str) -> None:
        """Put what was built where the live model is; `outcome` is kept, with who asked for it.

        Raises CannotRebuildError, and OvertakenError where somebody else builds by now.
        """
        for attempt in range(MOST_TRIES):
            await self._catch_up()
            await self._stand_beside()
            if await _done(self._generation.take_place(self._pool, by=by, outcome=outcome)):
                return
            await self._generation.let_go(self._pool)
            await asyncio.sleep(backoff(attempt))
        raise CannotRebuildError(IN_USE)

    async def drop(self) -> None:
        """Drop what was built, unless somebody else builds there by now."""
        if self._lease.held:
            await self._generation.drop(self._pool)

    async def _catch_up(self) -> None:
        """Fold up to where the live model stands by then."""
        while True:
            if not await self._lease.wait_held(LEASE_WITHIN_S):
                raise OvertakenError
            both = await self._both()
            self._tell(both.built.gp, both.live.gp)
            if both.built >= both.live:
                return
            await fold_on(self._projector, until=both.live)

    async def _stand_beside(self) -> None:
        """Hold the live model where it stands, and fold up to there."""
        place = await self._generation.hold(self._pool)
        while (await self._both()).built < place:
            await fold_on(self._projector, until=place)

    async def _both(self) -> Both:
        both = await self._generation.both(self._beside)
        if both.stopped is not None:
            raise CannotRebuildError(f"it cannot be folded: {both.stopped}")
        return both

    async def _compare(self) -> Compared:
        generation = self._generation
        for attempt in range(MOST_TRIES):
            await self._catch_up()
            await self._stand_beside()
            # One snapshot in which both stand at one place: the live model need not wait for more.
            async with (
                self._beside.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                both = await generation.both(connection)
                await generation.let_go(self._pool)
                if both.live == both.built:
                    return await compare(
                        connection, generation.tables, live=generation.home, built=generation.schema
                    )
            await asyncio.sleep(backoff(attempt))
        raise CannotRebuildError("the live model is at another place whenever it is looked at")


async def take_back(pool: asyncpg.Pool, generation: Generation, *, by: str) -> None:
    """Put the tables from before the last switch back, and the checkpoint that they had.

    Raises CannotRebuildError.
    """
    for attempt in range(MOST_TRIES):
        if await _done(generation.take_back(pool, by=by)):
            return
        await asyncio.sleep(backoff(attempt))
    raise CannotRebuildError(IN_USE)


async def _done(switching: Awaitable[None]) -> bool:
    """Did tables change places? Else somebody uses them, or the live model went on."""
    try:
        await switching
    except Exception as error:
        if sqlstate(error) not in BUSY:
            raise
        _logger.info("rebuild.busy", because=sqlstate(error))
        return False
    return True
