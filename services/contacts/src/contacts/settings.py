"""What contacts is told by its environment, under the prefix CONTACTS_."""

from __future__ import annotations

from crm_chassis.settings import SecretKey, ServiceSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class ContactsSettings(ServiceSettings):
    """As every service, and what identifiers and orders need."""

    model_config = SettingsConfigDict(env_prefix="CONTACTS_")

    digest_key: SecretKey
    """Identifiers are looked up by their HMAC under this key. It never changes: another key
    would make every known person a stranger."""
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    """Of orders that name none."""
    region: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    """ISO 3166, of phone numbers without a country code; without it they are refused."""
