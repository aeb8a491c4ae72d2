"""How far the relay is: positions and numbers, loaded as one, moved as one, by compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from crm_store.errors import LOST, sqlstate
from crm_store.log.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

MAIN: Final = "main"
UNKNOWN_OFFSET: Final = -1

# One statement, so that positions and numbers are of one instant.
LOAD: Final = """
select p.name, p.epoch, p.xid::text as xid, p.gp, p.version,
       null::int as partition, null::bigint as sequence, null::bigint as kafka_offset
from relay_position p
union all
select s.topic, null, null, null, null, s.partition, s.sequence, s.kafka_offset
from relay_sequence s
"""
# `numbered` reads `moved`, so nothing is numbered, and no row of it is waited for, unless this
# relay still leads. The move need not outlive a crash of PostgreSQL: rows sent again bear the same
# numbers. So nobody waits for the disk; but a version may come again then, hence the position too.
# In a log that was restored meanwhile the rows that were sent may not be there: nothing moves.
MOVE: Final = """
with moved as (
    update relay_position p
    set epoch = $6, xid = $7::text::xid8, gp = $8, version = p.version + 1
    where p.name = $1 and p.version = $2
      and (p.epoch, p.xid, p.gp) = ($3::int, $4::text::xid8, $5::bigint)
      and log_is_open()
    returning 1
), numbered as (
    insert into relay_sequence as s (topic, partition, sequence, kafka_offset)
    select u.* from moved, unnest($9::text[], $10::int[], $11::bigint[], $12::bigint[])
        as u(topic, partition, sequence, kafka_offset)
    on conflict (topic, partition)
        do update set sequence = excluded.sequence, kafka_offset = excluded.kafka_offset
)
select assert_moved((select count(*) from moved), 1), set_config('synchronous_commit', 'off', true)
"""
# The version of main moves too: whoever still leaves the topic out of its pages loses.
FINISH: Final = """
with led as (
    update relay_position p set version = p.version + 1
    where p.name = 'main' and p.version = $6
    returning 1
), moved as (
    delete from relay_position p using led
    where p.name = $1 and p.version = $2
      and (p.epoch, p.xid, p.gp) = ($3::int, $4::text::xid8, $5::bigint)
    returning 1
)
select assert_moved((select count(*) from moved), 1)
"""


class LostPositionError(Exception):
    """Another relay moved the position meanwhile. Nothing was written: load it again."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the log was sent under this name: all of it (`main`), or one topic once more.

    `version` rises with every move: two states of a name differ in it, or in their position.
    """

    name: str
    position: Position
    version: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """The last record of one topic partition that Kafka acknowledged.

    `kafka_offset` is -1 where Kafka only said that it had the record already.
    """

    topic: str
    partition: int
    sequence: int
    kafka_offset: int


@dataclass(slots=True)
class Progress:
    """The state of one relay, as of its last load or move."""

    main: Cursor
    again: dict[str, Cursor] = field(default_factory=dict[str, Cursor])  # topics sent once more
    sequences: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    offsets: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    def sequence(self, topic: str, partition: int) -> int:
        """The last number given there; the first one given is 1."""
        return self.sequences.get((topic, partition), 0)


async def load(pool: asyncpg.Pool) -> Progress:
    """Read positions and numbers as of one instant."""
    cursors: dict[str, Cursor] = {}
    sequences: dict[tuple[str, int], int] = {}
    offsets: dict[tuple[str, int], int] = {}
    for row in await pool.fetch(LOAD):
        name: str = row["name"]
        if row["partition"] is None:
            position = Position(row["epoch"], int(row["xid"]), row["gp"])
            cursors[name] = Cursor(name, position, row["version"])
        else:
            sequences[name, row["partition"]] = row["sequence"]
            offsets[name, row["partition"]] = row["kafka_offset"]
    return Progress(cursors.pop(MAIN), cursors, sequences, offsets)


async def main_version(pool: asyncpg.Pool) -> int | None:
    """The version of `main` as it stands in the database; None while the log is not settled."""
    version: int | None = await pool.fetchval(
        "select version from relay_position where name = $1 and log_is_open()", MAIN
    )
    return version


async def move(
    pool: asyncpg.Pool, progress: Progress, cursor: Cursor, end: Position, sent: Sequence[Numbered]
) -> None:
    """Set `cursor` to `end` and keep the numbers given on the way, all or nothing.

    Raises:
        LostPositionError: the cursor stands elsewhere in the database. `progress` is stale.
    """
    numbers = (
        [each.topic for each in sent],
        [each.partition for each in sent],
        [each.sequence for each in sent],
        [each.kafka_offset for each in sent],
    )
    await _write(pool, MOVE, cursor, (end.epoch, str(end.xid), end.gp, *numbers))
    moved = Cursor(cursor.name, end, cursor.version + 1)
    if cursor.name == MAIN:
        progress.main = moved
    else:
        progress.again[cursor.name] = moved
    progress.sequences.update({(each.topic, each.partition): each.sequence for each in sent})


async def finish(pool: asyncpg.Pool, progress: Progress, cursor: Cursor) -> None:
    """Level with `main`: from here on the topic goes along with all the others.

    Raises:
        LostPositionError: `main` or the cursor stands elsewhere. `progress` is stale.
    """
    await _write(pool, FINISH, cursor, (progress.main.version,))
    main = progress.main
    progress.main = Cursor(MAIN, main.position, main.version + 1)
    del progress.again[cursor.name]


async def _write(pool: asyncpg.Pool, sql: str, cursor: Cursor, arguments: tuple[Any, ...]) -> None:
    try:
        at = cursor.position
        await pool.fetchval(
            sql, cursor.name, cursor.version, at.epoch, str(at.xid), at.gp, *arguments
        )
    except Exception as error:
        if sqlstate(error) == LOST:
            raise LostPositionError(f"{cursor.name} is not at version {cursor.version}") from error
        raise
