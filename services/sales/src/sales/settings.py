"""What sales is told by its environment, under the prefix SALES_."""

from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crm_chassis.settings import ServiceSettings
from pydantic import BeforeValidator, Field, InstanceOf
from pydantic_settings import NoDecode, SettingsConfigDict

from sales.deals.pipelines import Pipelines, PipelinesError, load_pipelines


def _pipelines(value: object) -> object:
    """Pipelines from the path of their file; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return load_pipelines(Path(value.strip()) if value.strip() else None)
    except PipelinesError as error:
        raise ValueError(str(error)) from None


def _zone(value: object) -> object:
    """A time zone from its IANA name; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            'is no time zone that this machine knows, such as "Europe/Zurich"'
        ) from None


class SalesSettings(ServiceSettings):
    """As every service, and the pipelines that deals go through."""

    model_config = SettingsConfigDict(env_prefix="SALES_")

    pipelines: Annotated[
        InstanceOf[Pipelines],
        NoDecode,
        BeforeValidator(_pipelines),
        Field(default_factory=lambda: load_pipelines(None)),
    ]
    """The file of pipelines. Without it the one pipeline that comes with the package."""
    time_zone: Annotated[InstanceOf[tzinfo], NoDecode, BeforeValidator(_zone)] = UTC
    """Where the company is: a deal that is won without a day is won on the day it is there."""
