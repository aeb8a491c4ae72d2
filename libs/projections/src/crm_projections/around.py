"""One batch of events folded around the keys that are parked; pure but for reading rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from crm_events.errors import MissingKeyError
from crm_store.log.logged import QUARANTINED

from crm_projections.model import DataclassRow
from crm_projections.parking import KeptAsideError, customer_text, key_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from crm_store.log.entries import Statement
    from crm_store.log.logged import LoggedEvent

    from crm_projections.model import Key, Projection
    from crm_projections.parking import Tally, Waiting

R = TypeVar("R", bound=DataclassRow)


async def fold_around(  # noqa: PLR0913  # each named at the call
    pool: asyncpg.Pool,
    projection: Projection[R],
    logged: Sequence[LoggedEvent[Any]],
    *,
    waiting: Waiting,
    tally: Tally | None = None,
    only: str | None = None,
) -> list[Statement]:
    """What is to be written of these events; what parks, and what waits, goes into `waiting`.

    `only`: fold them into the row of this key alone.

    Raises what is no matter of an event (`Waiting.parks`), and TooManyFailuresError where there is
    a tally.
    """
    named = [_named(projection, entry, waiting) for entry in logged]
    keys = {key for each in named if isinstance(each, list) for key in each}
    if waiting.keys or waiting.refused:
        keys = {key for key in keys if not waiting.leaves_out(key_text(key))}
    rows = await projection.read(pool, keys)
    changed: set[Key] = set()
    for entry, each in zip(logged, named, strict=True):
        failure: Exception | None = None
        if isinstance(each, Exception):
            customer = customer_text(entry.partition_key)
            if not waiting.holds(customer, entry):
                waiting.park(customer, entry, each)
                failure = each
        elif waiting.keys and only is None and waiting.holds_customer(entry):
            continue
        else:
            failure = _fold_one(projection, entry, each, rows, changed, waiting, only)
        if tally is not None:
            tally.note(failure)
    return projection.writes(rows, changed)


def _named(
    projection: Projection[R], entry: LoggedEvent[Any], waiting: Waiting
) -> list[Key] | Exception:
    """The keys of an event; or why nobody can tell."""
    if entry.type == QUARANTINED:
        return KeptAsideError(entry)
    try:
        return projection.keys_of(entry)
    except Exception as error:
        if not waiting.parks(error):
            raise
        return error


def _fold_one(  # noqa: PLR0913, PLR0917  # the state of the batch
    projection: Projection[R],
    entry: LoggedEvent[Any],
    keys: Sequence[Key],
    rows: dict[Key, R],
    changed: set[Key],
    waiting: Waiting,
    only: str | None,
) -> Exception | None:
    """Fold an event into its rows but those that are parked; the first error, if any."""
    failure: Exception | None = None
    for key in keys:
        if only is not None and key_text(key) != only:
            continue
        if waiting.keys and waiting.holds(key_text(key), entry):
            continue
        try:
            if waiting.refused:
                waiting.refuse(key_text(key))
            projection.fold_one(key, entry, rows, changed)
        except Exception as error:
            if not waiting.parks(error):
                raise
            failure = failure or error
            if isinstance(error, MissingKeyError):  # of all that the event names
                waiting.park(customer_text(entry.partition_key), entry, error)
                break
            waiting.park(key_text(key), entry, error)
    return failure
