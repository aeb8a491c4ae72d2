"""What analytics is told by its environment, under the prefix ANALYTICS_."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from crm_chassis.settings import ServiceSettings
from crm_events.topics import CONTRACT
from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, SecretStr
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


def _redis_url(secret: SecretStr) -> SecretStr:
    try:
        url = urlsplit(secret.get_secret_value())
        port = url.port
    except ValueError:  # what it says holds a part of the address
        raise ValueError("is no address: its host or port cannot be read") from None
    if url.scheme not in {"redis", "rediss"} or not url.hostname or port == 0:
        raise ValueError("must be a redis:// or rediss:// address")
    return secret


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
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = None
    """Where leaders are kept for whoever asks often. Without it they come from PostgreSQL."""
    customer_file_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s\"'<>]+\{customer_id\}[^\s\"'<>]*$"
    )
    """Where the page of leaders links to: "http://host:port/.../{customer_id}"."""
