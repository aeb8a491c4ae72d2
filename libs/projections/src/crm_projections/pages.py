"""Pages of the log as the models at one position want them, the next one ready ahead."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from crm_store.log.logged import QUARANTINED
from crm_store.log.position import LAST, START, Position
from crm_store.log.tail import head, position_of, read_glances, read_page
from crm_store.tasks import give_up

from crm_projections.model import BatchModel, GlanceModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import asyncpg
    from crm_store.log.tail import Glance

    from crm_projections.model import Model

W = TypeVar("W")

PAGE_ROWS: Final = 5_000
LOOK_BEHIND_SECONDS: Final = 1.0
LONGEST_WRITE_SECONDS: Final = 0.05
"""A write holds a transaction id, and that holds every tail back."""
FEWEST_ROWS: Final = 500
"""Where so few take that long it is the machine: smaller pages would only be more of them."""
WRITES_LOOKED_AT: Final = 5


class Wants(NamedTuple):
    """Which rows of a page a model is given, as records: events, and what stands for lost ones."""

    types: frozenset[str]
    topics: frozenset[str]  # where a row in quarantine's place may be one of them

    @classmethod
    def of(cls, model: Model, topic_of: Callable[[str], str | None]) -> Wants:
        """`topic_of` tells where events of a type come from."""
        if isinstance(model, GlanceModel):
            return cls(frozenset(), frozenset())
        topics = () if isinstance(model, BatchModel) else map(topic_of, model.types)
        return cls(frozenset(model.types), frozenset(one for one in topics if one is not None))

    def take(self, row: asyncpg.Record) -> bool:
        kind = row["type"]
        return kind in self.types or (kind == QUARANTINED and row["topic"] in self.topics)


class Weighed(NamedTuple):
    """What a model that glances made of its events on a page, or what its `weigh` raised."""

    events: int
    since: datetime  # the first of them was recorded
    outcome: Any

    @classmethod
    def of(cls, model: GlanceModel[Any], glances: Sequence[Glance]) -> Weighed | None:
        """None where none is of its types."""
        types = set(model.types)
        own = [one for one in glances if one.type in types]
        if not own:
            return None
        try:
            outcome = model.weigh(own)
        except Exception as error:  # noqa: BLE001  # a fault of the model, told when it is its turn
            outcome = error
        return cls(len(own), own[0].recorded_at, outcome)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of the log as the models at one position want them; `rows` counts all of them.

    `full`: as many as were asked for, so there may be more.
    """

    rows: int
    full: bool
    end: Position
    recorded_at: datetime
    events: Sequence[asyncpg.Record] = ()  # of the types that models decode
    weighed: Mapping[str, Weighed] = field(default_factory=dict[str, Weighed])  # by model

    def of(self, wants: Wants) -> list[asyncpg.Record]:
        """The rows that a model is given."""
        return [row for row in self.events if wants.take(row)]

    def has_any(self, model: Model, wants: Wants) -> bool:
        """Does it have an event of the model?"""
        if isinstance(model, GlanceModel):
            return _name(model) in self.weighed
        return any(map(wants.take, self.events))

    def since(self, model: Model, wants: Wants) -> datetime:
        """When the first event of the model on this page was recorded."""
        if weighed := self.weighed.get(_name(model)):
            return weighed.since
        times = (row["recorded_at"] for row in self.events if wants.take(row))
        return next(times, self.recorded_at)

    def weighed_by(self, model: GlanceModel[W]) -> tuple[W, int]:
        """What a model that has any made of its events, and how many they were.

        Raises what its `weigh` raised.
        """
        events, _, outcome = self.weighed[_name(model)]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, events


class Pages:
    """Reads the log page by page; while a full one is folded the next is read and weighed."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._rows = PAGE_ROWS
        self._costs: dict[str, deque[float]] = {}  # by model: seconds a row, of its last writes
        self._ahead: dict[_Wanted, asyncio.Task[Page | None]] = {}
        self._last = START
        self._looked_at = float("-inf")

    async def next(
        self, position: Position, models: Sequence[Model], *, until: Position = LAST
    ) -> Page | None:
        """The rows behind `position`, up to `until`; None where there are none."""
        # A page holds what these models asked for: at the same place others ask for other rows.
        reading = self._ahead.pop((position, _names(models), until), None)
        page = None if reading is None else await reading
        page = page or await self._read(position, models, until)
        if page is not None and page.full:
            reading = asyncio.create_task(self._read(page.end, models, until))
            self._ahead[page.end, _names(models), until] = reading
        return page

    async def behind(self, page: Page) -> int:
        """How many rows the log has behind a page; looks at most once a second."""
        now = time.monotonic()
        if not page.full:
            self._last = page.end
        elif now - self._looked_at >= LOOK_BEHIND_SECONDS:
            self._looked_at = now
            self._last = await head(self._pool)
        return max(0, self._last.gp - page.end.gp)  # numbers are given in order: nearly exact

    async def keep(
        self, standing: Mapping[Position, Sequence[Model]], *, until: Position = LAST
    ) -> None:
        """Give up pages that nobody wants any more."""
        wanted = {(position, _names(models), until) for position, models in standing.items()}
        await give_up([self._ahead.pop(one) for one in self._ahead.keys() - wanted])

    def fit(self, model: str, seconds: float, rows: int) -> None:
        """Have pages be no larger than each model can write in 50 ms; one has written so many rows.

        What a row costs the quickest of its last writes tell: on a machine under load any write
        takes long, and pages that shrank for that would fall behind for good.
        """
        if rows < FEWEST_ROWS:
            return
        costs = self._costs.setdefault(model, deque(maxlen=WRITES_LOOKED_AT))
        costs.append(seconds / rows)
        fitting = int(LONGEST_WRITE_SECONDS / max(map(min, self._costs.values())))
        self._rows = max(FEWEST_ROWS, min(PAGE_ROWS, fitting))

    async def _read(
        self, position: Position, models: Sequence[Model], until: Position
    ) -> Page | None:
        """The next rows, read as the models want them; all stop at the same row."""
        glancing = [model for model in models if isinstance(model, GlanceModel)]
        decoding = [model for model in models if not isinstance(model, GlanceModel)]
        page: Page | None = None
        most = self._rows
        if decoding:
            types = sorted({QUARANTINED, *(kind for model in decoding for kind in model.types)})
            rows = await read_page(self._pool, position, limit=most, types=types, until=until)
            if not rows:
                return None
            last = rows[-1]
            count = last["rows"]
            page = Page(count, count >= most, position_of(last), last["recorded_at"], rows)
        if glancing:
            found = await read_glances(
                self._pool,
                position,
                limit=most if page is None else page.rows,
                types=sorted({kind for model in glancing for kind in model.types}),
                with_id=sorted({kind for model in glancing for kind in model.with_id}),
                with_data=sorted({kind for model in glancing for kind in model.with_data}),
                until=until if page is None else page.end,
            )
            if found is None:
                return page
            events = () if page is None else page.events
            weighed = {
                _name(model): one
                for model in glancing
                if (one := Weighed.of(model, found.glances)) is not None
            }
            full = found.rows >= most
            page = Page(found.rows, full, found.end, found.recorded_at, events, weighed)
        return page


_Wanted = tuple[Position, tuple[str, ...], Position]
"""Where a page begins, for which models it is read, and behind what it does not go."""


def _names(models: Sequence[Model]) -> tuple[str, ...]:
    return tuple(map(_name, models))


def _name(model: Model) -> str:
    return f"{model.name} {model.version}"
