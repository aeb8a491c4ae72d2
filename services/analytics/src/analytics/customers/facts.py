"""The facts behind a read model's rows: those of some customers that it has folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from crm_events.topics import CONTRACT
from crm_store.log.logged import COLUMNS, LoggedEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

MOST_FACTS: Final = 50_000
"""A longer history is not read at once: it would take seconds, and about 1 kB of memory each."""

CHECKPOINT: Final = """
select c.epoch, c.xid::text as xid, c.gp from projection_checkpoint c
where c.name = $1 and c.version = $2
"""
FACTS: Final = f"""
select {COLUMNS}, case when l.type = any($3::text[]) then l.data::text end as data
from log l
where l.partition_key = any($1::uuid[]) and l.type = any($2::text[])
  and (l.epoch, l.xid, l.gp) <= ($4::int, $5::text::xid8, $6::bigint)
limit $7
"""  # noqa: S608  # constants only
EVER_HEARD: Final = """
select exists (select from log where partition_key = any($1::uuid[]))
"""


class HistoryTooLongError(Exception):
    """There are more facts than are read at once."""


async def read_facts(  # noqa: PLR0913  # what, of whom, and how far
    connection: Any,  # noqa: ANN401  # asyncpg wraps what a pool hands out
    customer_ids: Sequence[UUID],
    *,
    projection: str,
    version: int,
    types: Sequence[str],
    decoded: Sequence[str],
) -> tuple[LoggedEvent[Any], ...]:
    """Facts at or before the checkpoint of a read model, in no order.

    A snapshot may hold rows behind the checkpoint: they belong to nothing that is shown. Only
    those of the `decoded` types have an `event`.

    Raises:
        HistoryTooLongError: there are more than 50,000.
    """
    checkpoint = await connection.fetchrow(CHECKPOINT, projection, version)
    if checkpoint is None:
        return ()
    rows = await connection.fetch(
        FACTS,
        list(customer_ids),
        list(types),
        list(decoded),
        checkpoint["epoch"],
        checkpoint["xid"],
        checkpoint["gp"],
        MOST_FACTS + 1,
    )
    if len(rows) > MOST_FACTS:
        raise HistoryTooLongError
    return tuple(LoggedEvent(row, CONTRACT) for row in rows)


async def ever_heard(connection: Any, customer_ids: Sequence[UUID]) -> bool:  # noqa: ANN401  # as above
    """Does the log hold anything of them?"""
    return bool(await connection.fetchval(EVER_HEARD, list(customer_ids)))
