"""HTTP: which scoring model is asked for, and how an answer names it."""

from collections.abc import Mapping
from typing import Annotated, Final

from crm_chassis.http.problems import Problem
from fastapi import Query
from pydantic import BaseModel, ConfigDict

from analytics.engagement.model import ScoringModel

SCOPE: Final = "scores:read"
"""What reads of scores need."""

NamedModel = Annotated[str | None, Query(max_length=63, description="The first where missing.")]


class ModelName(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    version: int


def named(models: Mapping[str, ScoringModel], name: str | None) -> ScoringModel:
    """The model of that name, the first where none is given; answers 404 to an unknown one."""
    found = next(iter(models.values())) if name is None else models.get(name)
    if found is None:
        raise Problem(404, "unknown-model", f"The models are: {', '.join(models)}.")
    return found


def name_of(model: ScoringModel) -> ModelName:
    return ModelName(name=model.name, version=model.version)
