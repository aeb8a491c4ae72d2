"""What sales is told by its environment, under the prefix SALES_."""

from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crm_chassis.settings import ServiceSettings
from crm_deciding.effects.hosts import mail_address
from crm_deciding.effects.mail import MailServer, Security
from crm_deciding.effects.outgoing import ForbiddenUrlError, check_url
from crm_deciding.effects.webhook import Endpoint, is_secret
from pydantic import BeforeValidator, Field, InstanceOf, SecretStr, ValidationInfo, field_validator
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
    back_office_inside: bool = False
    """Its address may be of the company's own network, and http."""
    back_office_url: str | None = None
    """Where a deal that was won is told of, as a Standard Webhook; without it nobody is told."""
    back_office_secret: Annotated[SecretStr | None, Field(validate_default=True)] = None
    """What the calls are signed with: "whsec_" and base64."""
    smtp_host: str | None = Field(default=None, min_length=1, max_length=253)
    """Where mail to colleagues is handed over; without it none is written."""
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_security: Security = "starttls"
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_sender: Annotated[
        str | None, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$", max_length=254, validate_default=True)
    ] = None
    """The address that mail comes from."""
    time_zone: Annotated[InstanceOf[tzinfo], NoDecode, BeforeValidator(_zone)] = UTC
    """Where the company is: a deal that is won without a day is won on the day it is there."""

    @field_validator("back_office_url")
    @classmethod
    def _may_be_called(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None:
            try:
                check_url(url, inside=info.data.get("back_office_inside") is True)
            except ForbiddenUrlError as error:
                raise ValueError(str(error)) from None
        return url

    @field_validator("back_office_secret")
    @classmethod
    def _signs(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is None and info.data.get("back_office_url") is not None:
            raise ValueError("is missing: the back office is called with a signature")
        if secret is not None and not is_secret(secret.get_secret_value()):
            raise ValueError("must be whsec_ and the base64 of 24 to 64 bytes")
        return secret

    @field_validator("smtp_sender")
    @classmethod
    def _comes_from(cls, sender: str | None, info: ValidationInfo) -> str | None:
        if sender is None and info.data.get("smtp_host") is not None:
            raise ValueError("is missing: mail comes from an address")
        if sender is None:
            return None
        sender = mail_address(sender)
        if not sender.isascii():
            raise ValueError("must be ASCII before the @, so that every server takes it")
        return sender

    @property
    def mail_server(self) -> MailServer | None:
        """Where mail is handed over, where the settings say so."""
        if self.smtp_host is None or self.smtp_sender is None:
            return None
        password = self.smtp_password
        return MailServer(
            host=self.smtp_host,
            port=self.smtp_port,
            security=self.smtp_security,
            user=self.smtp_user,
            password=None if password is None else password.get_secret_value(),
            sender=self.smtp_sender,
        )

    @property
    def back_office(self) -> Endpoint | None:
        """The back office, where the settings say where it is."""
        if self.back_office_url is None or self.back_office_secret is None:
            return None
        secret = self.back_office_secret.get_secret_value()
        return Endpoint(self.back_office_url, secret, inside=self.back_office_inside)
