"""What is news, and what lay in a topic before this service first heard it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from crm_chassis.log.logged import LoggedEvent

MARKS: Final = "select topic, partition, news_after from inbox_mark"


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
