"""Pipelines are data: their stages, what it takes to enter one, and why deals are lost."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DEFAULT_PIPELINES: Final = "pipelines.json"
MOST_PIPELINES: Final = 50
MOST_STAGES: Final = 50
MOST_LOSS_REASONS: Final = 50

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Probability = Annotated[Decimal, Field(ge=0, le=1, decimal_places=4, allow_inf_nan=False)]

_DURATION: Final = re.compile(
    r"P(?!$)([0-9]{1,4}W|([0-9]{1,4}D)?(T(?=[0-9])([0-9]{1,4}H)?([0-9]{1,4}M)?([0-9]{1,5}S)?)?)",
    re.ASCII,
)


def _duration(given: object) -> object:
    if isinstance(given, timedelta) or (isinstance(given, str) and _DURATION.fullmatch(given)):
        return given
    raise ValueError('is a duration of ISO 8601 without months and years, such as "P14D"')


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=str),
    Field(gt=timedelta(0), le=timedelta(days=3_650)),
]


class PipelinesError(Exception):
    """Pipelines that cannot be used; the text says what is wrong with them, and where."""


class Condition(StrEnum):
    """What has to be known of a deal before it enters a stage."""

    AMOUNT = "amount"
    EXPECTED_CLOSE = "expected_close"
    PRODUCTS = "products"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Data):
    """`probability` is that of winning a deal in this stage, from 0 to 1."""

    name: Name
    probability: Probability
    requires: tuple[Condition, ...] = ()
    rots_after: Duration | None = None
    """A deal that stays longer than that needs a look; None: never."""

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Stage:
        _once("requires", self.requires)
        return self


class Pipeline(_Data):
    """Stages in the order in which a deal passes them; it begins in the first unless stated."""

    name: Name
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=MOST_STAGES)
    loss_reasons: tuple[Name, ...] = Field(min_length=1, max_length=MOST_LOSS_REASONS)

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Pipeline:
        _once("stage", (stage.name for stage in self.stages))
        _once("loss reason", self.loss_reasons)
        return self

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)


class Pipelines(_Data):
    """All pipelines of the company."""

    pipelines: tuple[Pipeline, ...] = Field(min_length=1, max_length=MOST_PIPELINES)

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Pipelines:
        _once("pipeline", (pipeline.name for pipeline in self.pipelines))
        return self

    def pipeline(self, name: str) -> Pipeline | None:
        return next((pipeline for pipeline in self.pipelines if pipeline.name == name), None)

    def stage(self, pipeline: str, stage: str) -> Stage | None:
        found = self.pipeline(pipeline)
        return None if found is None else found.stage(stage)

    @property
    def durations(self) -> str:
        """How long deals may stand in their stages: a text that changes with it."""
        return "; ".join(
            f"{pipeline.name} {stage.name} {stage.rots_after}"
            for pipeline in self.pipelines
            for stage in pipeline.stages
            if stage.rots_after is not None
        )


def load_pipelines(path: Path | None) -> Pipelines:
    """The pipelines in a file, or those that come with the package where there is no path.

    Raises:
        PipelinesError: the file cannot be read, or holds no pipelines.
    """
    source = resources.files("sales.deals") / DEFAULT_PIPELINES
    try:
        text = source.read_text("utf-8") if path is None else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelinesError(f"{path}: {error}") from error
    return read_pipelines(text)


def read_pipelines(text: str) -> Pipelines:
    """The pipelines that stand in a JSON text.

    Raises:
        PipelinesError: there are none, or one cannot be used.
    """
    try:
        return Pipelines.model_validate_json(text)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'pipelines'}: {each['msg']}"
            for each in error.errors()
        )
        raise PipelinesError(f"these are no pipelines: {found}") from error


def _once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {what} {name} stands there twice")
        seen.add(name)
