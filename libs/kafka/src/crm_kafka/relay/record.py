"""A row of the log as a Kafka record: what `crm_events.codec.to_record` makes, from text."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson
from crm_events.codec import META_HEADERS, SCHEMA_BASE

if TYPE_CHECKING:
    import asyncpg

    from crm_kafka.relay.page import Page

KNOWN_SCHEMAS: Final = 4_096

_SPEC: Final = ("ce_specversion", b"1.0")
_JSON: Final = ("content-type", b"application/json")


def record(
    row: asyncpg.Record, page: Page, sequence: int, service: str
) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of the record of a row of the page."""
    (
        *_, event_id, name, schema_version, stream_id, version, partition_key, occurred_at,
        recorded_at, _, data, meta,
    ) = row  # fmt: skip  # in the order of the select list: by number takes longer
    kind, schema, source = _of_type(name, schema_version, service)
    headers = [
        _SPEC,
        _JSON,
        kind,
        schema,
        source,
        ("ce_id", event_id.encode()),
        ("ce_time", occurred_at.encode()),
        ("ce_recordedtime", recorded_at.encode()),
        ("ce_subject", stream_id.encode()),
        ("ce_streamversion", b"%d" % version),
        ("ce_sequence", b"%d" % sequence),
    ]
    if meta is not None:
        carried: dict[str, Any] = orjson.loads(meta)
        headers += [
            (header, carried[name].encode())
            for name, header in META_HEADERS.items()
            if name in carried
        ]
    text: str = page.data(row) if data is None else data
    return partition_key.encode(), text.encode(), headers


@lru_cache(KNOWN_SCHEMAS)
def _of_type(name: str, version: int, service: str) -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_type", name.encode()),
        ("ce_dataschema", f"{SCHEMA_BASE}{name}/v{version}".encode()),
        ("ce_source", f"/crm/{service}".encode()),
    )
