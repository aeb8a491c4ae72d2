"""Events as rows of the log: sealed, placed in their partitions, and small enough for Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from crm_events.codec import MAX_RECORD_BYTES, record_size, to_record
from crm_events.envelope import Recorded
from crm_events.sealing import seal

from crm_store.log.entries import EventTooLargeError
from crm_store.partitioning import partition_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from crm_events.keys import Destroyed
    from crm_events.topics import Contract

    from crm_store.log.entries import NewEvent

SURELY_FITS: Final = MAX_RECORD_BYTES // 8
"""Characters of data and meta (at most 4 bytes each) that leave half the record to the rest."""
SIZED_AS: Final = "measured-publisher"
MOST_DIGITS: Final = 2**63 - 1


def columns_of(
    placed: Sequence[tuple[UUID, int, NewEvent]],
    recorded_at: datetime,
    keys: Mapping[str, bytes | Destroyed],
    *,
    contract: Contract,
) -> tuple[list[Any], ...]:
    """Events with their streams and versions, as an append takes them: a list for each column.

    Raises:
        EventTooLargeError: an event is above 256 kB sealed, or its record above the limit.
        DestroyedKeyError, MissingKeyError: a subject's key is gone or unknown here.
    """
    rows = [_row(each, recorded_at, keys, contract) for each in placed]
    if not rows:
        return tuple([] for _ in range(11))
    return tuple(list(column) for column in zip(*rows, strict=True))


def subject_of(new: NewEvent) -> UUID:
    """Whose personal data the event carries."""
    field = type(new.event).subject
    return new.partition_key if field is None else getattr(new.event, field)


def _row(
    placed: tuple[UUID, int, NewEvent],
    recorded_at: datetime,
    keys: Mapping[str, bytes | Destroyed],
    contract: Contract,
) -> tuple[Any, ...]:
    stream_id, version, new = placed
    event = new.event
    topic = contract.by_type.get(event.type)
    if topic is None and event.type not in contract.classes:
        raise LookupError(f"{event.type} is not in the contract")
    data = seal(event, event_id=new.event_id, subject=subject_of(new), keys=keys)
    partition = None if topic is None else partition_of(new.partition_key, topic.partitions)
    name = None if topic is None else topic.name
    if len(data) + sum(map(len, new.meta.values())) >= SURELY_FITS:
        _refuse_too_large(
            Recorded(
                event_id=new.event_id,
                type=event.type,
                schema_version=event.version,
                stream_id=stream_id,
                stream_version=version,
                partition_key=new.partition_key,
                occurred_at=new.occurred_at,
                recorded_at=recorded_at,
                data=data,
                topic=name,
                partition=partition,
                meta=new.meta,
                sequence=MOST_DIGITS,
            )
        )
    meta = orjson.dumps(dict(new.meta)).decode() if new.meta else None
    return (
        stream_id, version, new.event_id, event.type, event.version, new.partition_key,
        new.occurred_at, name, partition, data, meta,
    )  # fmt: skip


def _refuse_too_large(recorded: Recorded) -> None:
    """Measure the record as Kafka would take it, with the longest of numbers."""
    size = record_size(*to_record(recorded, publisher=SIZED_AS))
    if size > MAX_RECORD_BYTES:
        raise EventTooLargeError(recorded.event_id, size, MAX_RECORD_BYTES)
