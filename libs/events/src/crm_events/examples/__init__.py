"""Golden examples: a released event of every type and version, as it stands in Kafka for ever.

`<type>/v1.json` is the record, sealed under a published test key; `v1.opened.json` is its data
opened. They are append-only: `RELEASED.sha256` has the digest of each. A reader proves itself on
them, in whatever language it is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, cast

from crm_events.codec import read_headers
from crm_events.envelope import Recorded
from crm_events.keys import Kek

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SUBJECT: Final = "01998a3c-7d00-7000-8000-00000000c0de"
"""The customer whom every example is about, but those of members."""

MEMBER: Final = "01998a3c-7d00-7000-8000-000000000b0b"
"""The member of the company who works for that customer."""

TEST_KEYS: Final[dict[str, bytes]] = {SUBJECT: bytes(range(32)), MEMBER: bytes(range(64, 96))}
"""Published, for examples and tests; seals nobody's data."""

TEST_KEK: Final = Kek("test", bytes(range(32, 64)))
"""Published; the example of contacts.keys is wrapped under it."""

KEY_RECORDS: Final = "contacts.keys"
"""Beside the wire types: its examples are `live` and `destroyed`."""


@dataclass(frozen=True, slots=True)
class Example:
    """A record as a consumer meets it, and its data opened."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    opened: dict[str, Any]

    def recorded(self) -> Recorded:
        """Return it as the log keeps it."""
        envelope = read_headers(self.key, self.headers)
        return Recorded(
            event_id=envelope.event_id,
            type=envelope.type,
            schema_version=envelope.schema_version,
            stream_id=envelope.subject,
            stream_version=envelope.stream_version,
            partition_key=envelope.partition_key,
            occurred_at=envelope.occurred_at,
            recorded_at=envelope.recorded_at,
            data=self.value.decode(),
            sequence=envelope.sequence,
            meta=envelope.meta,
        )


def load(type: str, version: int = 1) -> Example:  # noqa: A002  # the word of the wire
    """Return the golden example of a wire type and version.

    Raises:
        FileNotFoundError: none was released.
    """
    return _load(type, f"v{version}")


def load_key_record(state: str) -> Example:
    """Return the example of a record of contacts.keys: `live` or `destroyed`."""
    return _load(KEY_RECORDS, state)


def released() -> tuple[tuple[str, int], ...]:
    """Name every type and version that has an example."""
    found = [
        (folder.name, int(file.name.removeprefix("v").removesuffix(".json")))
        for folder in _here().iterdir()
        if folder.is_dir() and folder.name != KEY_RECORDS
        for file in folder.iterdir()
        if file.name.startswith("v") and not file.name.endswith(".opened.json")
    ]
    return tuple(sorted(found))


def _here() -> Traversable:
    return files("crm_events.examples")


def _load(folder: str, name: str) -> Example:
    place = _here() / folder
    record = cast("dict[str, Any]", json.loads((place / f"{name}.json").read_text("utf-8")))
    opened = cast("dict[str, Any]", json.loads((place / f"{name}.opened.json").read_text("utf-8")))
    headers = cast("dict[str, str]", record["headers"])
    return Example(
        key=record["key"].encode(),
        value=json.dumps(record["data"], ensure_ascii=False, separators=(",", ":")).encode(),
        headers=tuple((header, content.encode()) for header, content in headers.items()),
        opened=opened,
    )
