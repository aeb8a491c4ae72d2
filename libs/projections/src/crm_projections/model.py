"""A read model: a pure fold per key, written down beside the table it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import orjson
from crm_store.log.entries import Statement
from sqlalchemy import ARRAY, JSON
from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import asyncpg
    from crm_events.base import Event
    from crm_store.log.logged import LoggedEvent
    from crm_store.log.tail import Glance
    from sqlalchemy import Table


class DataclassRow(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Key = tuple[Any, ...]
R = TypeVar("R", bound=DataclassRow)
W = TypeVar("W")

_DIALECT = postgresql.dialect()


@dataclass(frozen=True, slots=True)
class BatchModel:
    """A read model that is no fold per key.

    `fold` reads what it needs without a transaction and returns the statements that the chassis
    runs, together with the move of the checkpoint, as one statement. No two of them may write
    the same table. It must be a function of what it read and of the events.

    `tables` hold its rows and nobody else's; a model without any cannot be rebuilt. `marks` are
    another's, in which it says what is owed to others: a rebuild writes none of that.
    """

    name: str
    version: int
    types: tuple[str, ...]
    fold: Callable[[asyncpg.Pool, Sequence[LoggedEvent[Any]]], Awaitable[Sequence[Statement]]]
    opens: bool = False
    tables: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GlanceModel(Generic[W]):
    """A `BatchModel` that needs little of each event, and folds many more of them a second.

    Of an event it sees key and times; the id where its type is among `with_id`, the JSON as it was
    written and its version where it is among `with_data`.

    `weigh` makes of a page's events, at least one, what `fold` needs of them. It knows nothing of
    the rows there are: it is asked while the page before is still being written.
    """

    name: str
    version: int
    types: tuple[str, ...]
    weigh: Callable[[Sequence[Glance]], W]
    fold: Callable[[asyncpg.Pool, W], Awaitable[Sequence[Statement]]]
    with_id: tuple[str, ...] = ()
    with_data: tuple[str, ...] = ()


@dataclass
class Projection(Generic[R]):
    """A fold per key over one table.

    `row` is a frozen dataclass with exactly the table's columns; `key` gives the key tuple of
    the row an event belongs to (in primary-key order), or a list of them. A fold takes the row
    as it is (None: there is none) and the event, and returns the row as it shall be (None: there
    shall be none). It is pure: no clock, no id, no I/O.

    `fresh`: each event has a row of its own, so none is there before and none is read.
    """

    name: str
    version: int
    table: Table
    row: type[R]
    key: Callable[[LoggedEvent[Any]], Key | list[Key]]
    opens: bool = False
    fresh: bool = False
    _folds: dict[str, Callable[[R | None, LoggedEvent[Any]], R | None]] = field(
        default_factory=dict[str, "Callable[[R | None, LoggedEvent[Any]], R | None]"]
    )

    def __post_init__(self) -> None:
        columns = [column.name for column in self.table.columns]
        if [f.name for f in fields(self.row)] != columns:
            raise TypeError(f"{self.name}: the row's fields are not the table's columns {columns}")
        if any(isinstance(column.type, ARRAY) for column in self.table.columns):
            raise TypeError(f"{self.name}: an array column cannot be written by unnest, use jsonb")

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(self._folds)

    def on(
        self, *events: type[Event]
    ) -> Callable[
        [Callable[[R | None, LoggedEvent[Any]], R | None]],
        Callable[[R | None, LoggedEvent[Any]], R | None],
    ]:
        """Fold events of these classes by the decorated function."""

        def register(
            fold: Callable[[R | None, LoggedEvent[Any]], R | None],
        ) -> Callable[[R | None, LoggedEvent[Any]], R | None]:
            for event in events:
                if event.type in self._folds:
                    raise TypeError(f"{self.name} folds {event.type} twice")
                self._folds[event.type] = fold
            return fold

        return register

    def fold_into(self, rows: dict[Key, R], logged: Sequence[LoggedEvent[Any]]) -> set[Key]:
        """Fold events into `rows` in order; the keys that changed. Pure but for `rows`."""
        changed: set[Key] = set()
        for entry in logged:
            for key in self.keys_of(entry):
                self.fold_one(key, entry, rows, changed)
        return changed

    def fold_one(
        self, key: Key, entry: LoggedEvent[Any], rows: dict[Key, R], changed: set[Key]
    ) -> None:
        """Fold an event into the row of one of its keys."""
        entry.key = key
        before = rows.get(key)
        after = self._folds[entry.type](before, entry)
        if after is before:
            return
        changed.add(key)
        if after is None:
            rows.pop(key, None)
        else:
            rows[key] = after

    def keys_of(self, entry: LoggedEvent[Any]) -> list[Key]:
        """The keys of the rows that an event belongs to."""
        named = self.key(entry)
        return named if isinstance(named, list) else [named]

    async def read(self, pool: asyncpg.Pool, keys: set[Key]) -> dict[Key, R]:
        """The rows there are of these keys; none where each event has a row of its own."""
        return {} if self.fresh else await self._read(pool, keys)

    def writes(self, rows: Mapping[Key, R], changed: set[Key]) -> list[Statement]:
        """What is to be written where these keys changed, to what they are in `rows`."""
        kept = [rows[key] for key in changed if key in rows]
        gone = [key for key in changed if key not in rows]
        statements: list[Statement] = []
        if kept:
            statements.append(Statement(self._sql.upsert, self._columns(kept)))
        if gone:
            statements.append(Statement(self._sql.delete, _transposed(gone, self._sql.key_width)))
        return statements

    async def _read(self, pool: asyncpg.Pool, keys: set[Key]) -> dict[Key, R]:
        width = self._sql.key_width
        found = await pool.fetch(self._sql.select, *_transposed(list(keys), width))
        json_at, keyed = self._sql.json_at, self._sql.key_at
        rows: dict[Key, R] = {}
        for record in found:
            values = list(record.values())
            for at in json_at:
                if values[at] is not None:
                    values[at] = orjson.loads(values[at])
            rows[tuple(values[at] for at in keyed)] = self.row(*values)
        return rows

    def _columns(self, rows: Sequence[R]) -> tuple[list[Any], ...]:
        names = self._sql.names
        columns: list[list[Any]] = [[getattr(row, name) for row in rows] for name in names]
        for at in self._sql.json_at:
            columns[at] = [
                None if value is None else orjson.dumps(value).decode() for value in columns[at]
            ]
        return tuple(columns)

    @cached_property
    def _sql(self) -> _TableSql:
        return _TableSql.of(self.table)


@dataclass(frozen=True, slots=True)
class _TableSql:
    """The three statements of a table, over arrays, and where its keys and JSON stand."""

    names: tuple[str, ...]
    key_at: tuple[int, ...]
    json_at: tuple[int, ...]
    key_width: int
    select: str
    upsert: str
    delete: str

    @classmethod
    def of(cls, table: Table) -> _TableSql:
        columns = list(table.columns)
        names = tuple(column.name for column in columns)
        types = [str(column.type.compile(dialect=_DIALECT)) for column in columns]
        is_json = [isinstance(column.type, JSON) for column in columns]
        keys = [column.name for column in table.primary_key.columns]
        key_types = [types[names.index(key)] for key in keys]
        key_arrays = ", ".join(f"${n}::{t}[]" for n, t in enumerate(key_types, 1))
        arrays = ", ".join(
            f"${n}::{'text' if js else t}[]"
            for n, (t, js) in enumerate(zip(types, is_json, strict=True), 1)
        )
        quoted = [f'"{name}"' for name in names]
        listed = ", ".join(f'"{key}"' for key in keys)
        shown = ", ".join(
            f"t.{name}::text" if js else f"t.{name}"
            for name, js in zip(quoted, is_json, strict=True)
        )
        taken = ", ".join(
            f"u.{name}::{t}" if js else f"u.{name}"
            for name, t, js in zip(quoted, types, is_json, strict=True)
        )
        rest = [name for name in names if name not in keys]
        action = (
            "do update set " + ", ".join(f'"{name}" = excluded."{name}"' for name in rest)
            if rest
            else "do nothing"
        )
        same = " and ".join(f't."{key}" = k."{key}"' for key in keys)
        # Rows are looked up one by one (`offset 0` keeps it so): a join that was planned while the
        # table was small would read all of it for every page.
        # S608: the names come from the table's definition in code, never from input.
        return cls(
            names=names,
            key_at=tuple(names.index(key) for key in keys),
            json_at=tuple(at for at, js in enumerate(is_json) if js),
            key_width=len(keys),
            select=f"select {shown} from unnest({key_arrays}) as k({listed}) "  # noqa: S608
            f"cross join lateral (select * from {table.name} t where {same} offset 0) t",
            upsert=f"insert into {table.name} ({', '.join(quoted)}) select {taken} "  # noqa: S608
            f"from unnest({arrays}) as u({', '.join(quoted)}) on conflict ({listed}) {action}",
            delete=f"delete from {table.name} t using unnest({key_arrays}) as k({listed}) "  # noqa: S608
            f"where {same}",
        )


class KeyedModel(Protocol):
    """A model that takes events key by key; what cannot be taken parks."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def types(self) -> tuple[str, ...]: ...
    @property
    def opens(self) -> bool: ...


ReadModel = Projection[Any] | BatchModel | GlanceModel[Any]
Model = ReadModel | KeyedModel
"""Whatever has a checkpoint."""


def by_stream(logged: LoggedEvent[Any]) -> Key:
    """The key of a row that follows one stream."""
    return (logged.stream_id,)


def tables_of(model: Model) -> tuple[str, ...]:
    """The tables that hold a model's rows and nobody else's."""
    match model:
        case Projection():
            return (model.table.name,)
        case BatchModel():
            return model.tables
        case _:
            return ()


def _transposed(keys: Sequence[Key], width: int) -> tuple[list[Any], ...]:
    return tuple([key[at] for key in keys] for at in range(width))


def as_of(
    projection: Projection[R],
    logged: Sequence[LoggedEvent[Any]],
    *,
    rows: Mapping[Key, R] | None = None,
) -> dict[Key, R]:
    """The rows as a fold over just these events gives them: any past instant, from the log."""
    state: dict[Key, R] = dict(rows or {})
    projection.fold_into(state, [entry for entry in logged if entry.type in projection.types])
    return state
