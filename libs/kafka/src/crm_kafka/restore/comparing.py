"""Comparing the log with Kafka: does Kafka have records of ours that the log lacks?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_store.log.position import LAST, bounds
from crm_store.log.tail import position_of

from crm_kafka.relay.progress import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import asyncpg
    from crm_events.topics import Topic

    from crm_kafka.inbox.rows import Heard
    from crm_kafka.relay.progress import Progress
    from crm_kafka.restore.reading import OwnRecords, Place

ROWS_AT_ONCE: Final = 20_000
"""Rows that one statement looks at: each stays far below the sessions' time limit."""

# While the log is closed every row counts: of a load into another cluster the transaction ids may
# all lie above those of the server.
_OWED: Final = """
select l.epoch, l.xid::text as xid, l.gp, l.topic, l.partition, l.event_id::text as event_id
from log l
where l.sequence is null and l.topic is not null
  and (l.epoch, l.xid, l.gp) > ($1::int, $2::text::xid8, $3::bigint)
  and (l.epoch, l.xid, l.gp) <= ($4::int, $5::text::xid8, $6::bigint)
  and ($7 or l.epoch < (select max(epoch) from log_epoch)
          or l.xid < pg_snapshot_xmin(pg_current_snapshot()))
order by l.epoch, l.xid, l.gp limit $8
"""


class DivergedError(Exception):
    """Kafka and the log have different events under one number: no machine can join them."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(f"{place[0]} {place[1]}: number {number} is another event in Kafka")
        self.place, self.number = place, number


class HoleError(Exception):
    """Of the records that the log lacks Kafka lacks some: those behind cannot be numbered."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(
            f"{place[0]} {place[1]}: number {number} is neither in the log nor in Kafka"
        )
        self.place, self.number = place, number


@dataclass(frozen=True, slots=True)
class Standing:
    """How a topic partition stands: the last number the log gives, the last one in Kafka.

    `offset` is that of the record with the log's last number, -1 where it was not met.
    """

    logged: int
    sent: int
    offset: int

    @property
    def missing(self) -> int:
        return max(0, self.sent - self.logged)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing found. `owes`: the log has rows that Kafka does not."""

    progress: Progress
    offsets: Mapping[Place, int]  # where reading begins, of the partitions whose place is known
    standings: Mapping[Place, Standing]
    owes: bool

    @property
    def missing(self) -> int:
        """Records in Kafka that the log lacks."""
        return sum(one.missing for one in self.standings.values())


async def compare(
    pool: asyncpg.Pool, records: OwnRecords, topics: Iterable[Topic], *, closed: bool
) -> Comparison:
    """Compare from the relay's checkpoint on. `closed`: nobody can write to the log meanwhile.

    Raises:
        DivergedError, HoleError: the log cannot be made whole from Kafka.
    """
    progress = await load(pool)
    # Of a topic that is being sent again the highest number may lie before the last one sent, so
    # it is read whole, or not at all.
    again = progress.again
    offsets = {place: at for place, at in progress.offsets.items() if place[0] not in again}
    # First where Kafka ends, then the log: what Kafka has by then, the log shows.
    await records.look(topics if closed else [one for one in topics if one.name not in again])
    if not closed and not records.behind(offsets):
        return Comparison(progress, offsets, {}, owes=True)
    owed = await _owed(pool, progress, closed=closed)
    await records.seek(progress.sequences, offsets)
    tracks: dict[Place, _Track] = {
        (place.topic, place.partition): _Track(
            place=(place.topic, place.partition),
            known=progress.sequence(place.topic, place.partition),
            owed=owed.get((place.topic, place.partition), []),
            offset=offsets.get((place.topic, place.partition), -1),
        )
        for place in records.ends
    }
    async for batch in records.in_any_order():
        for heard in batch:
            tracks[heard.record.topic, heard.record.partition].follow(heard)
    for track in tracks.values():
        if track.highest > track.last:
            raise HoleError(track.place, track.last + 1)
    standings = {place: track.standing() for place, track in tracks.items()}
    unmet = any(owed.get(place) for place in owed.keys() - standings.keys())
    owes = unmet or any(one.sent < one.logged for one in standings.values())
    return Comparison(progress, offsets, standings, owes=owes)


class _Track:
    """One partition, followed record by record from the relay's checkpoint on."""

    def __init__(self, *, place: Place, known: int, owed: list[str], offset: int) -> None:
        self.place = place
        self.last = known  # without a hole up to here
        self.highest = known
        self._known = known
        self._owed = owed
        self._offset = offset if not owed else -1

    def follow(self, heard: Heard) -> None:
        number = heard.sequence
        if number is None or number <= self._known:
            return
        at = number - self._known - 1
        if at < len(self._owed):
            if heard.event_id != self._owed[at]:
                raise DivergedError(self.place, number)
            if at == len(self._owed) - 1 and self._offset < 0:
                self._offset = heard.offset
        self.highest = max(self.highest, number)
        if number == self.last + 1:
            self.last = number

    def standing(self) -> Standing:
        logged = self._known + len(self._owed)
        return Standing(logged=logged, sent=self.last, offset=self._offset)


async def _owed(pool: asyncpg.Pool, progress: Progress, *, closed: bool) -> dict[Place, list[str]]:
    """Ids of the rows behind the relay's checkpoint, of each partition in order."""
    starts = {name: cursor.position for name, cursor in progress.again.items()}
    main = progress.main.position
    at = min([main, *starts.values()])
    owed: dict[Place, list[str]] = {}
    while True:
        rows = await pool.fetch(_OWED, *bounds(at, LAST), closed, ROWS_AT_ONCE)
        for row in rows:
            at = position_of(row)
            if at > starts.get(row["topic"], main):
                owed.setdefault((row["topic"], row["partition"]), []).append(row["event_id"])
        if len(rows) < ROWS_AT_ONCE:
            return owed
