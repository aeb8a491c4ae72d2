"""What every service is told by its environment; unsafe or missing settings stop the start."""

from __future__ import annotations

import base64
import binascii
import platform
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

from crm_events.keys import Kek
from crm_events.topics import CONTRACT
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    SecretBytes,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from crm_chassis.lifecycle import LONGEST_STOP_S

KEY_BYTES: Final = 32
MOST_KEKS: Final = 8
MOST_WRITES: Final = 64


class UnsafeSettingsError(Exception):
    """The environment cannot be started with. `lines` has one line per setting, by its name."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def decode_key(text: str) -> bytes:
    """32 bytes from base64 (either alphabet, padding optional); ValueError for any weaker key."""
    plain = text.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        material = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise ValueError("is not base64") from None
    if len(material) != KEY_BYTES:
        raise ValueError(f"must be {KEY_BYTES} bytes in base64, is {len(material)}")
    if len(set(material)) < KEY_BYTES // 4:
        raise ValueError("is no random key: its bytes repeat")
    return material


def parse_keks(text: str) -> tuple[Kek, ...]:
    """Key-encryption keys from "id:base64[,id:base64]"; the first is the current one."""
    keks: dict[str, Kek] = {}
    for part in text.split(",", MOST_KEKS):
        kek_id, colon, encoded = part.strip().partition(":")
        if not colon or not kek_id:
            raise ValueError("must be <id>:<base64 of 32 bytes>, several separated by commas")
        if kek_id in keks:
            raise ValueError(f"names the key {kek_id} twice")
        keks[kek_id] = Kek(kek_id=kek_id, material=decode_key(encoded))
    return tuple(keks.values())


def parse_writes(text: str) -> dict[str, int]:
    """Versions of events to write, from "type:version[,type:version]"; checked against CONTRACT."""
    writes: dict[str, int] = {}
    for part in filter(None, text.split(",", MOST_WRITES)):
        name, _, version = part.strip().rpartition(":")
        if not name or not version.isdecimal():
            raise ValueError("must be <type>:<version>, several separated by commas")
        if name in writes:
            raise ValueError(f"names {name} twice")
        writes[name] = int(version)
    CONTRACT.writing(writes)
    return writes


def _database_url(secret: SecretStr) -> SecretStr:
    try:
        url = urlsplit(secret.get_secret_value())
        hosts = url.netloc.rpartition("@")[2].split(",")  # PostgreSQL takes several
        ports = [urlsplit(f"//{host}").port for host in hosts]
        for told in parse_qs(url.query).get("port", ()):
            ports += map(int, told.split(","))
    except ValueError:  # what it says holds a part of the address
        raise ValueError("is no address: its host or port cannot be read") from None
    if 0 in ports:
        raise ValueError("has the port 0, where nobody listens")
    if url.scheme not in {"postgresql", "postgres"}:
        raise ValueError("must be a postgresql:// address")
    if not (url.username or "user" in parse_qs(url.query)):
        raise ValueError("names no user: each service has a role of its own")
    if not url.path.strip("/"):
        raise ValueError("names no database")
    return secret


def _from_text(parse: Any) -> BeforeValidator:  # noqa: ANN401  # any parser of a text
    def parsed(value: object) -> object:
        return parse(value) if isinstance(value, str) else value

    return BeforeValidator(parsed)


SecretKey = Annotated[SecretBytes, _from_text(decode_key)]
"""A setting that is a key: base64 of 32 random bytes; `.get_secret_value()` is the bytes."""

Keks = Annotated[
    tuple[InstanceOf[Kek], ...], NoDecode, _from_text(parse_keks), Field(min_length=1, repr=False)
]
Writes = Annotated[dict[str, int], NoDecode, _from_text(parse_writes)]


class ServiceSettings(BaseSettings):
    """What all services are told. Each has a subclass with a prefix of its own.

    `model_config = SettingsConfigDict(env_prefix="CONTACTS_")`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[SecretStr, AfterValidator(_database_url)]
    database_connections: int = Field(default=10, ge=2, le=100)
    kafka_bootstrap: str = Field(min_length=1, pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")
    kafka_replication_factor: int = Field(default=3, ge=1, le=32)
    """Of topics this service creates; 1 where there is one broker."""
    kafka_min_insync: int = Field(default=2, ge=1, le=32)
    """Replicas that must have a record before it counts as sent; 1 where there is one broker."""
    http_host: str = Field(default="127.0.0.1", min_length=1)
    http_port: int = Field(ge=1, le=65535)
    keks: Keks
    instance: str = Field(
        default_factory=platform.node, min_length=1, max_length=200, pattern=r"^[\w.-]+$"
    )
    """Tells replicas apart (Kafka's static membership): unique, and the same after a restart."""
    log_format: Literal["auto", "json", "console"] = "auto"
    migrate_on_start: bool = True
    writes: Writes = Field(default_factory=dict[str, int])
    """Events that are written in another version than this release would write: "type:version"."""
    stall_seconds: float = Field(default=30.0, ge=5, le=600)
    """A loop that shows no progress for so long makes /livez fail."""
    shutdown_seconds: float = Field(default=LONGEST_STOP_S, ge=1, le=LONGEST_STOP_S)


S = TypeVar("S", bound=ServiceSettings)


def load_settings(kind: type[S]) -> S:
    """Read the environment. Raises UnsafeSettingsError, which shows names and never a value."""
    try:
        return kind()  # pyright: ignore[reportCallIssue]  # the environment fills it
    except ValidationError as invalid:
        prefix = kind.model_config.get("env_prefix") or ""
        raise UnsafeSettingsError(
            tuple(
                f"{prefix}{'_'.join(str(part) for part in problem['loc'][:1]).upper()} "
                f"{_reason(problem['type'], problem['msg'])}"
                for problem in invalid.errors(include_input=False, include_url=False)
            )
        ) from None


def is_superuser_url(settings: ServiceSettings) -> bool:
    """Does the service come as `postgres`? It works, but a role of its own can do less harm."""
    return urlsplit(settings.database_url.get_secret_value()).username == "postgres"


def _reason(kind: str, message: str) -> str:
    match kind:
        case "missing":
            return "is missing"
        case "value_error":
            return message.removeprefix("Value error, ")
        case "string_pattern_mismatch":
            return "does not have the right form"
        case _:
            return f"is refused: {message[:1].lower()}{message[1:]}"
