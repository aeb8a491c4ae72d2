"""A row of the log as folds and readers meet it; its event is decoded when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import orjson
from crm_events.envelope import Recorded
from crm_events.sealing import read

from crm_store.log.position import Position

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    import asyncpg
    from crm_events.base import Event
    from crm_events.keys import Destroyed
    from crm_events.topics import Contract

E_co = TypeVar("E_co", bound="Event", covariant=True)

QUARANTINED: Final = "crm.quarantined"
"""The type of a row that stands for a record the log cannot hold as it is."""

COLUMNS: Final = (
    "l.epoch, l.xid::text as xid, l.gp, l.event_id, l.type, l.schema_version, l.stream_id, "
    "l.version, l.partition_key, l.occurred_at, l.recorded_at, l.topic, l.partition, l.sequence, "
    "l.meta::text as meta"
)
"""Select list of a `LoggedEvent` but for its data, from `log l`."""


class LoggedEvent(Generic[E_co]):
    """One event with its envelope and place.

    `key` is the key of the row that is being folded, set by the chassis before each fold.
    """

    __slots__ = ("_contract", "_data", "_event", "_keys", "_row", "key", "type")

    def __init__(
        self,
        row: asyncpg.Record,
        contract: Contract,
        keys: Mapping[str, bytes | Destroyed] | None = None,
    ) -> None:
        self._row = row
        self._contract = contract
        self._keys = keys
        self._event: Event | None = None
        self._data: dict[str, Any] | None = None
        self.key: tuple[Any, ...] = ()
        self.type: str = row["type"]

    @property
    def event(self) -> E_co:
        """The decoded event. Raises what `crm_events.sealing.read` raises."""
        if self._event is None:
            self._event = read(self.recorded, self._contract, self._keys)
        return cast("E_co", self._event)

    @property
    def data(self) -> dict[str, Any]:
        """The JSON as written: sealed, not upcast. For folds that need a field and no more."""
        if self._data is None:
            self._data = orjson.loads(self._row["data"])
        return cast("dict[str, Any]", self._data)

    @property
    def schema_version(self) -> int:
        """The version `data` was written in; `event` is of the newest."""
        return self._row["schema_version"]

    @property
    def position(self) -> Position:
        return Position(self._row["epoch"], int(self._row["xid"]), self._row["gp"])

    @property
    def event_id(self) -> UUID:
        return self._row["event_id"]

    @property
    def stream_id(self) -> UUID:
        return self._row["stream_id"]

    @property
    def stream_version(self) -> int:
        return self._row["version"]

    @property
    def partition_key(self) -> UUID:
        return self._row["partition_key"]

    @property
    def occurred_at(self) -> datetime:
        return self._row["occurred_at"]

    @property
    def recorded_at(self) -> datetime:
        return self._row["recorded_at"]

    @property
    def recorded(self) -> Recorded:
        row = self._row
        meta: str | None = row["meta"]
        return Recorded(
            event_id=row["event_id"],
            type=self.type,
            schema_version=row["schema_version"],
            stream_id=row["stream_id"],
            stream_version=row["version"],
            partition_key=row["partition_key"],
            occurred_at=row["occurred_at"],
            recorded_at=row["recorded_at"],
            data=row["data"],
            topic=row["topic"],
            partition=row["partition"],
            sequence=row["sequence"],
            meta=orjson.loads(meta) if meta else {},
        )
