"""Rewinding a topic: the same rows with the same numbers go to Kafka once more, to the head."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_store.log.position import START, Position, bounds
from crm_store.log.tail import position_of

from crm_kafka.relay.progress import MAIN, UNKNOWN_OFFSET, load

if TYPE_CHECKING:
    import asyncpg

COUNT_ROWS: Final = 20_000
"""Rows that one statement looks at: each stays far below the sessions' time limit."""

_PLACES: Final = """
select l.epoch, l.xid::text as xid, l.gp, l.topic, l.partition from log l
where l.sequence is null and l.topic is not null
  and (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
  and (l.epoch, l.xid, l.gp) <= ($4::int, $5::text::xid8, $6::bigint)
order by l.epoch, l.xid, l.gp limit $7
"""
# The version of main moves: a relay that still takes the topic along loses its next
# compare-and-set and loads this. It is the topic's first version too, for it never comes again.
# A topic that is being sent again from further back stays there.
_REWIND: Final = f"""
with led as (
    update relay_position p set version = p.version + 1 where p.name = '{MAIN}' returning p.version
), rewound as (
    insert into relay_position as p (name, epoch, xid, gp, version)
    select $1, $2::int, $3::text::xid8, $4::bigint, led.version from led
    on conflict (name) do update
        set epoch = excluded.epoch, xid = excluded.xid, gp = excluded.gp,
            version = excluded.version
        where (excluded.epoch, excluded.xid, excluded.gp) < (p.epoch, p.xid, p.gp)
    returning p.name
), emptied as (
    delete from relay_sequence s using rewound
    where s.topic = rewound.name and s.partition <> all($5::int[])
), counted as (
    insert into relay_sequence as s (topic, partition, sequence, kafka_offset)
    select rewound.name, u.partition, u.sequence, {UNKNOWN_OFFSET}
    from rewound, unnest($5::int[], $6::bigint[]) as u(partition, sequence)
    on conflict (topic, partition)
        do update set sequence = excluded.sequence, kafka_offset = excluded.kafka_offset
)
select count(*) from rewound
"""  # noqa: S608  # constants only


class NothingToRepublishError(Exception):
    """The topic has no record with such a number yet."""


@dataclass(frozen=True, slots=True)
class Rewound:
    """Where sending begins again. `already` says that it was on its way from further back."""

    topic: str
    position: Position
    already: bool


async def republish(pool: asyncpg.Pool, topic: str, *, from_sequence: int | None = None) -> Rewound:
    """Have the relay send the topic again, from its first record or from a number on.

    Over all partitions: it begins just before the first row, in log order, that has this number
    or a higher one. Readers that are ahead drop what they have.

    Raises:
        ValueError: numbers begin at 1.
        NothingToRepublishError: no row of the topic that was sent has such a number.
    """
    if from_sequence is not None and from_sequence < 1:
        raise ValueError("numbers begin at 1")
    position, counts = await _place(pool, topic, 1 if from_sequence is None else from_sequence)
    rewound: int = await pool.fetchval(
        _REWIND,
        topic,
        position.epoch,
        str(position.xid),
        position.gp,
        list(counts.keys()),
        list(counts.values()),
    )
    return Rewound(topic, position, already=rewound == 0)


async def _place(pool: asyncpg.Pool, topic: str, number: int) -> tuple[Position, Counter[int]]:
    """The last row before the first with such a number, and how many each partition has by then."""
    head = (await load(pool)).main.position
    counts: Counter[int] = Counter()
    before = looked_at = START
    while looked_at < head:
        rows = await pool.fetch(_PLACES, *bounds(looked_at, head), COUNT_ROWS)
        for row in rows:
            if row["topic"] != topic:
                continue
            if counts[row["partition"]] + 1 >= number:
                return before, counts
            counts[row["partition"]] += 1
            before = position_of(row)
        looked_at = position_of(rows[-1]) if rows else head
    last = max(counts.values(), default=0)
    raise NothingToRepublishError(
        f"{topic} was sent up to number {last}, none is {number} or above"
    )
