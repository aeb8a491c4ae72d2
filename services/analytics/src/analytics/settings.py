"""What analytics is told by its environment, under the prefix ANALYTICS_."""

from pathlib import Path
from typing import Annotated, Final

from crm_chassis.settings import ServiceSettings
from crm_events.topics import CONTRACT
from pydantic import BeforeValidator, Field, InstanceOf
from pydantic_settings import NoDecode, SettingsConfigDict

from analytics.engagement.model import ModelError, ScoringModel, load_model

MOST_MODELS: Final = 8


def _models(value: object) -> object:
    """Models from the paths of their files, separated by commas; any other value as it is."""
    if not isinstance(value, str):
        return value
    paths = [Path(part.strip()) for part in value.split(",") if part.strip()]
    try:
        models = tuple(load_model(path, CONTRACT) for path in paths) or _default()
    except ModelError as error:
        raise ValueError(str(error)) from None
    if len({model.name for model in models}) != len(models):
        raise ValueError("names one model twice")
    return models


def _default() -> tuple[ScoringModel, ...]:
    return (load_model(None, CONTRACT),)


class AnalyticsSettings(ServiceSettings):
    """As every service, and the models it scores by."""

    model_config = SettingsConfigDict(env_prefix="ANALYTICS_")

    models: Annotated[
        tuple[InstanceOf[ScoringModel], ...],
        NoDecode,
        BeforeValidator(_models),
        Field(default_factory=_default, min_length=1, max_length=MOST_MODELS),
    ]
    """Files of scoring models, separated by commas; the first is the one meant where a question
    names none. Without it the model that comes with the package."""
    customer_file_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s\"'<>]+\{customer_id\}[^\s\"'<>]*$"
    )
    """Where the page of leaders links to: "http://host:port/.../{customer_id}"."""
