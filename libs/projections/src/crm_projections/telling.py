"""How the read models of a release are, as probes tell it: built and at work, or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from crm_projections.model import ReadModel

# A model that is new holds nothing up: nobody has read it yet.
MODELS: Final = """
select u.name || ' ' || u.version as model, c.paused_at is not null as paused,
       c.built_at is null and exists (
           select from projection_checkpoint o
           where o.name = u.name and o.version <> u.version and o.built_at is not null) as building
from unnest($1::text[], $2::int[]) as u(name, version)
left join projection_checkpoint c using (name, version) order by 1
"""


@dataclass(frozen=True, slots=True)
class Models:
    """What is told of this release's read models, each as `name version`."""

    building: tuple[str, ...]
    """Not level yet, where another version of it was: answers would lack what that one had."""
    paused: tuple[str, ...]


async def told_of(pool: asyncpg.Pool, models: Sequence[ReadModel]) -> Models:
    """How these read models are."""
    names, versions = [model.name for model in models], [model.version for model in models]
    rows = await pool.fetch(MODELS, names, versions)
    return Models(
        building=tuple(row["model"] for row in rows if row["building"]),
        paused=tuple(row["model"] for row in rows if row["paused"]),
    )
