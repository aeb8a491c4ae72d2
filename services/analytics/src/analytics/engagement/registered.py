"""Which models ever scored here: a version, once used, means one thing for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analytics.engagement.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from analytics.engagement.model import ScoringModel

REGISTER: Final = """
insert into scoring_model (model_id, name, version, sha256, definition)
values ($1, $2, $3, $4, $5::json) on conflict do nothing
"""
REGISTERED: Final = "select sha256 from scoring_model where model_id = $1"


async def register_models(pool: asyncpg.Pool, models: Iterable[ScoringModel]) -> None:
    """Note the models that are in use.

    Raises:
        ModelError: a model of this name and version was another one before. Scores of the two
            would mix; raise the version.
    """
    for model in models:
        await pool.execute(
            REGISTER, model.model_id, model.name, model.version, model.sha256, model.definition
        )
        if await pool.fetchval(REGISTERED, model.model_id) != model.sha256:
            raise ModelError(
                f"model {model.name} version {model.version} was another one when it scored here "
                "before: give the changed one a new version"
            )
