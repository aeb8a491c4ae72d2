"""What is news, and what lay in a topic before this service first heard it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg
    from crm_store.log.logged import LoggedEvent

BEGIN: Final = """
insert into projection_checkpoint (name, version, epoch, xid, gp)
select $1, $2, p.epoch, p.xid, p.gp from (
    select 1 as choice, c.epoch, c.xid, c.gp
    from projection_checkpoint c where c.name = $1 and c.version < $2
    union all (
        select 2, l.epoch, l.xid, l.gp from log l
        where l.epoch < (select max(epoch) from log_epoch)
           or l.xid < pg_snapshot_xmin(pg_current_snapshot())
        order by l.epoch desc, l.xid desc, l.gp desc limit 1)
    union all select 3, 0, '0'::xid8, 0
) p order by p.choice, p.epoch desc, p.xid desc, p.gp desc limit 1
on conflict do nothing
"""
MARKS: Final = "select topic, partition, news_after from inbox_mark"


async def begin_at_the_end(pool: asyncpg.Pool, name: str, version: int) -> None:
    """Give what acts on news a checkpoint where it has none: the end of the log.

    Or where the version before it stands: what that did not come to, this one does.
    """
    await pool.execute(BEGIN, name, version)


async def news_after(pool: asyncpg.Pool) -> Mapping[tuple[str, int], int | None]:
    """By topic and partition: the number of its last record that is history; None: all is so far.

    Read it behind the rows that are asked about: a row that is news wrote this with it.
    """
    rows = await pool.fetch(MARKS)
    return {(row["topic"], row["partition"]): row["news_after"] for row in rows}


def is_news(entry: LoggedEvent[Any], after: Mapping[tuple[str, int], int | None]) -> bool:
    """Own events are; of what was heard, what was written after this service began to listen."""
    recorded = entry.recorded
    if recorded.sequence is None or recorded.topic is None or recorded.partition is None:
        return True
    last = after.get((recorded.topic, recorded.partition))
    return last is not None and recorded.sequence > last
