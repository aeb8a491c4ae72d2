"""A scoring model is data: which events count, for how much, for how long, and why."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

from crm_events.contacts import Order
from crm_events.personal import PersonalMark
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from analytics.engagement.decay import SECONDS_PER_DAY, Decay

if TYPE_CHECKING:
    from pathlib import Path

    from crm_events.topics import Contract

DEFAULT_MODEL: Final = "engagement.v2.json"
TEXT: Final[tuple[object, ...]] = (str, str | None)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Factor = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


def _sentence(text: str) -> str:
    if not text.endswith(".") or text != text.strip():
        raise ValueError("a why is one sentence, with its full stop")
    return text


class ModelError(Exception):
    """A scoring model that cannot be used; the text says what is wrong with it, and where."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Data):
    """Holds where a text field of the event, not a personal one, is one of these."""

    field: str = Field(min_length=1, max_length=60)
    one_of: tuple[str, ...] = Field(min_length=1, max_length=100)


class Kind(_Data):
    """Events that count alike. An event counts under the first kind of its type that takes it."""

    name: Name
    type: str = Field(min_length=1, max_length=100)
    when: Condition | None = None
    weight: Factor
    per_log_amount: float = Field(default=0.0, ge=0, le=1e6, allow_inf_nan=False)
    sign: Literal["positive", "negative"] = "positive"
    cap_per_day: int | None = Field(default=None, ge=1, le=100)
    why: Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_sentence)]


class Band(_Data):
    """Scores from `at_least` on, up to the next band; the lowest band has no threshold."""

    name: Name
    at_least: float | None = Field(default=None, ge=-1e9, le=1e9, allow_inf_nan=False)


class ScoringModel(_Data):
    """`weight + per_log_amount * ln(1 + amount)`, halved every `half_life_days`.

    A cap takes the first n of a customer's facts of a kind on a UTC day. The half-life is not
    below a day, so what a late fact displaces there is at most twice its worth.
    """

    name: Name
    version: int = Field(ge=1, le=1_000_000)
    landmark: AwareDatetime
    half_life_days: float = Field(ge=1, le=36_500, allow_inf_nan=False)
    kinds: tuple[Kind, ...] = Field(min_length=1, max_length=100)
    bands: tuple[Band, ...] = Field(default=(), max_length=10)  # lowest first

    @model_validator(mode="after")
    def _each_kind_can_be_reached(self) -> ScoringModel:
        names: set[str] = set()
        taken: set[str] = set()
        for kind in self.kinds:
            if kind.name in names:
                raise ValueError(f"two kinds are called {kind.name}")
            if kind.type in taken:
                raise ValueError(
                    f"kind {kind.name} is never reached: one before it takes every {kind.type}"
                )
            names.add(kind.name)
            if kind.when is None:
                taken.add(kind.type)
        return self

    @model_validator(mode="after")
    def _bands_follow_one_another(self) -> ScoringModel:
        names = [band.name for band in self.bands]
        if len(set(names)) != len(names):
            raise ValueError("two bands have one name")
        if names and self.bands[0].at_least is not None:
            raise ValueError(f"band {names[0]}: the lowest has no at_least")
        thresholds = [band.at_least for band in self.bands[1:]]
        stated = [one for one in thresholds if one is not None]
        if len(stated) < len(thresholds):
            raise ValueError("only the lowest band has no at_least")
        if any(one >= following for one, following in pairwise(stated)):
            raise ValueError("each band begins above the one before")
        return self

    @property
    def decay(self) -> Decay:
        return Decay(self.landmark, self.half_life_days * SECONDS_PER_DAY)

    @property
    def model_id(self) -> int:
        """What tables know this name and version by: the same number on every machine."""
        digest = hashlib.sha256(f"{self.name}\x1f{self.version}".encode()).digest()
        return int.from_bytes(digest[:8]) >> 1

    @property
    def types(self) -> tuple[str, ...]:
        """Wire types that count, each once."""
        return tuple(dict.fromkeys(kind.type for kind in self.kinds))

    @property
    def decoded_types(self) -> tuple[str, ...]:
        """Wire types whose data the model looks into."""
        looked = (kind.type for kind in self.kinds if kind.when or kind.per_log_amount)
        return tuple(dict.fromkeys(looked))

    @property
    def capped_types(self) -> tuple[str, ...]:
        """Wire types of kinds with a cap: those need an order of their own, by time and id."""
        return tuple(dict.fromkeys(kind.type for kind in self.kinds if kind.cap_per_day))

    @property
    def projection(self) -> str:
        """The name of the read model that folds it."""
        return f"score.{self.name}"

    @property
    def definition(self) -> str:
        """The model as JSON text, the same text for the same model, also of before bands."""
        data = self.model_dump(mode="json", exclude=None if self.bands else {"bands"})
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.definition.encode()).hexdigest()


def load_model(path: Path | None, contract: Contract) -> ScoringModel:
    """The model in a file, or the one that comes with the package where there is no path.

    Raises:
        ModelError: the file cannot be read, is no model, or names what the contract lacks.
    """
    source = resources.files("analytics.engagement") / "models" / DEFAULT_MODEL
    try:
        text = source.read_text("utf-8") if path is None else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error
    return read_model(text, contract)


def read_model(text: str, contract: Contract) -> ScoringModel:
    """The model that stands in a JSON text, held against the events it names.

    Raises:
        ModelError: as `load_model`.
    """
    try:
        model = ScoringModel.model_validate_json(text)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'model'}: {each['msg']}"
            for each in error.errors()
        )
        raise ModelError(f"this is no scoring model: {found}") from error
    for kind in model.kinds:
        _check_event(kind, contract)
    return model


def _check_event(kind: Kind, contract: Contract) -> None:
    event = contract.classes.get(kind.type)
    if event is None:
        raise ModelError(f"kind {kind.name}: there is no event {kind.type}")
    if kind.per_log_amount and not issubclass(event, Order):
        raise ModelError(f"kind {kind.name}: {kind.type} carries no amount")
    if kind.when is None:
        return
    field = event.model_fields.get(kind.when.field)
    if field is None:
        raise ModelError(f"kind {kind.name}: {kind.type} has no field {kind.when.field}")
    if any(isinstance(mark, PersonalMark) for mark in field.metadata):
        raise ModelError(
            f"kind {kind.name}: {kind.when.field} is personal; a score rests on what is not"
        )
    if cast("object", field.annotation) not in TEXT:
        raise ModelError(f"kind {kind.name}: {kind.when.field} of {kind.type} is no text")
