"""The AsyncAPI 3.0 document of everything on Kafka: `python -m crm_events.asyncapi`.

Committed beside the schemas it refers to. It is also the record of what was promised: a change of
topics that breaks somebody is refused (`crm_events.breaking`).

Source: AsyncAPI 3.0.0, and its Kafka bindings 0.4.0.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from crm_events.breaking import topic_differences
from crm_events.codec import SCHEMA_BASE
from crm_events.contacts import SubjectKeyRecord
from crm_events.schemas import FOLDER as SCHEMAS
from crm_events.schemas import committed_versions
from crm_events.topics import CONTRACT, HEARD_BY, KEYS_PARTITIONS, KEYS_PUBLISHER, KEYS_TOPIC

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crm_events.topics import Contract, Topic

FILE: Final = Path(__file__).parent / "asyncapi.json"

_JSON: Final = "application/json"
_KAFKA_BINDINGS: Final = "0.4.0"
_UUID: Final = {"type": "string", "format": "uuid"}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_CUSTOMER: Final = {
    **_UUID,
    "description": "The customer id, or the stream's where there is no customer: all events of a"
    " key are in order within a topic.",
}
_KEY_ID: Final = {
    **_UUID,
    "description": "The subject whose key it is: a customer id, or a member id.",
}
_EVERYTHING: Final = {"cleanup.policy": ["delete"], "retention.ms": -1, "retention.bytes": -1}
_COMPACTED: Final = {"cleanup.policy": ["compact"]}
_KEY_FIELDS: Final = {"live": ("key_id", "kek_id", "wrapped"), "destroyed": ("key_id", "destroyed")}

_ENVELOPE: Final[dict[str, Any]] = {
    "description": "CloudEvents 1.0 in Kafka's binary mode; every value is UTF-8 text.",
    "type": "object",
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "content-type": {"const": _JSON},
        "ce_id": {**_UUID, "description": "Of this event, in every service."},
        "ce_type": {"type": "string", "minLength": 1, "maxLength": 255},
        "ce_source": {
            "type": "string",
            "pattern": "^/crm/.",
            "description": "The service that decided it.",
        },
        "ce_subject": {**_UUID, "description": "The stream."},
        "ce_dataschema": {
            "type": "string",
            "pattern": f"^{SCHEMA_BASE.replace('.', '[.]')}[^/]+/v[1-9][0-9]{{0,9}}$",
            "description": "Type and version of the data. It names, it does not resolve.",
        },
        "ce_time": {**_INSTANT, "description": "When it happened."},
        "ce_recordedtime": {**_INSTANT, "description": "When the publisher recorded it."},
        "ce_streamversion": {
            "type": "string",
            "pattern": "^[1-9][0-9]{0,9}$",
            "description": "Its place in the stream, from 1.",
        },
        "ce_sequence": {
            "type": "string",
            "pattern": "^[1-9][0-9]{0,18}$",
            "description": "Its place in the topic partition, from 1 without a gap, and the same"
            " whenever it is sent again.",
        },
        "ce_correlationid": {"type": "string"},
        "ce_causationid": {"type": "string"},
        "ce_depth": {
            "type": "string",
            "pattern": "^[1-9][0-9]{0,9}$",
            "description": "Reactions that led to it, each to the one before.",
        },
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
    },
    "required": [
        *("ce_specversion", "content-type", "ce_id", "ce_type", "ce_source", "ce_subject"),
        *("ce_dataschema", "ce_time", "ce_recordedtime", "ce_streamversion", "ce_sequence"),
    ],
}


def main(arguments: list[str] | None = None) -> int:
    """Write the document, or with `--check` only say that it is stale: 1 if it is.

    A change that breaks somebody is refused: 1, and nothing is written.
    """
    parser = argparse.ArgumentParser(prog="python -m crm_events.asyncapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    check = cast("bool", parser.parse_args(arguments).check)
    now = document(CONTRACT, committed_versions(SCHEMAS), hears=HEARD_BY)
    text = json.dumps(now, indent=2, ensure_ascii=False) + "\n"
    committed = FILE.read_text() if FILE.exists() else None
    broken = topic_differences(json.loads(committed), now) if committed else ()
    for difference in broken:
        sys.stdout.write(f"breaking: {difference}\n")
    if broken:
        return 1
    if text == committed:
        return 0
    sys.stdout.write(f"{'stale' if check else 'written'}: {FILE.name}\n")
    if not check:
        FILE.write_text(text)
    return 1 if check else 0


def document(
    contract: Contract,
    versions: Iterable[tuple[str, int]],
    *,
    hears: Mapping[str, tuple[Topic, ...]],
) -> dict[str, Any]:
    """Return the document of a contract, of which these versions of its types have a schema.

    A topic carries every version that was ever written, for it forgets nothing; what is sent are
    those that have a class.
    """
    carried: dict[str, list[int]] = {}
    for name, version in versions:
        carried.setdefault(name, []).append(version)
    messages, channels, operations = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for topic in contract.topics:
        types = [cls.type for cls in topic.events]
        of_topic = {
            _id(name, version): (name, version) for name in types for version in carried[name]
        }
        messages |= {one: _event(topic, *what) for one, what in of_topic.items()}
        channels[topic.name] = _channel(
            topic.name, topic.publisher, of_topic, partitions=topic.partitions, kept=_EVERYTHING
        )
        sent = [_id(cls.type, cls.version) for cls in contract.written if cls.type in types]
        operations |= _operation(topic.publisher, "send", topic.name, sent)
        for service in [one for one, topics in hears.items() if topic in topics]:
            operations |= _operation(service, "receive", topic.name, of_topic)
    keys = {f"{KEYS_TOPIC}.{state}": _key(state) for state in _KEY_FIELDS}
    channels[KEYS_TOPIC] = _channel(
        KEYS_TOPIC, KEYS_PUBLISHER, keys, partitions=KEYS_PARTITIONS, kept=_COMPACTED
    )
    operations |= _operation(KEYS_PUBLISHER, "send", KEYS_TOPIC, keys)
    for service in [one for one in hears if one != KEYS_PUBLISHER]:
        operations |= _operation(service, "receive", KEYS_TOPIC, keys)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Kith",
            "version": "1.0.0",
            "description": "What the services tell each other. Read with the README of crm_events.",
        },
        "defaultContentType": _JSON,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages | keys, "schemas": _shared()},
    }


def _id(name: str, version: int) -> str:
    return f"{name}.v{version}"


def _channel(
    name: str, publisher: str, messages: Iterable[str], *, partitions: int, kept: dict[str, Any]
) -> dict[str, Any]:
    return {
        "address": name,
        "description": f"Published by {publisher}.",
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
        "bindings": {
            "kafka": {
                "partitions": partitions,
                "topicConfiguration": kept,
                "bindingVersion": _KAFKA_BINDINGS,
            }
        },
        "x-publisher": publisher,
    }


def _operation(
    service: str, action: str, topic: str, messages: Iterable[str]
) -> dict[str, dict[str, Any]]:
    return {
        f"{service}.{action}.{topic}": {
            "action": action,
            "summary": f"{service} {'publishes' if action == 'send' else 'hears'} {topic}",
            "channel": {"$ref": f"#/channels/{topic}"},
            "messages": [{"$ref": f"#/channels/{topic}/messages/{one}"} for one in messages],
            "tags": [{"name": service}],
        }
    }


def _event(topic: Topic, name: str, version: int) -> dict[str, Any]:
    own = {
        "ce_type": {"const": name},
        "ce_source": {"const": f"/crm/{topic.publisher}"},
        "ce_dataschema": {"const": f"{SCHEMA_BASE}{name}/v{version}"},
    }
    return {
        "name": name,
        "title": f"{name}, version {version}",
        "contentType": _JSON,
        "headers": {"allOf": [_shared_as("envelope"), {"type": "object", "properties": own}]},
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "payload": {"$ref": f"./schemas/{name}/v{version}.json"},
        "bindings": {"kafka": {"key": _CUSTOMER, "bindingVersion": _KAFKA_BINDINGS}},
    }


def _key(state: str) -> dict[str, Any]:
    return {
        "name": KEYS_TOPIC,
        "title": f"A subject's key, {state}",
        "contentType": _JSON,
        "payload": _shared_as(f"key-{state}"),
        "bindings": {"kafka": {"key": _KEY_ID, "bindingVersion": _KAFKA_BINDINGS}},
    }


def _shared_as(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _shared() -> dict[str, Any]:
    key_records = {f"key-{state}": _key_record(fields) for state, fields in _KEY_FIELDS.items()}
    return {"envelope": _ENVELOPE, **key_records}


def _key_record(fields: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of a record with exactly these fields: what is None is not written."""
    shapes = SubjectKeyRecord.model_json_schema(mode="serialization")["properties"]
    properties: dict[str, Any] = {}
    for name in fields:
        forms: list[dict[str, Any]] = shapes[name].get("anyOf", [shapes[name]])
        properties[name] = next(form for form in forms if form["type"] != "null")
    return {"type": "object", "properties": properties, "required": list(fields)}


if __name__ == "__main__":
    sys.exit(main())
