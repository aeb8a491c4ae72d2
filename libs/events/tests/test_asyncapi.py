"""The AsyncAPI document: as the code gives it, as AsyncAPI 3.0.0 wants it, as records are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from crm_events import asyncapi
from crm_events.asyncapi import FILE, document, main
from crm_events.base import Event
from crm_events.breaking import Side, topic_differences
from crm_events.codec import to_record
from crm_events.downcasters import Downcaster
from crm_events.examples import load, load_key_record, released
from crm_events.schemas import FOLDER
from crm_events.topics import CONTRACT, HEARD_BY, KEYS_TOPIC, Contract, Topic

COMMITTED = json.loads(FILE.read_text())
MESSAGES = COMMITTED["components"]["messages"]
SHARED = COMMITTED["components"]["schemas"]
ENVELOPE = SHARED["envelope"]


class Made1(Event, type="test.made", version=1):
    name: str


class Made2(Event, type="test.made", version=2):
    names: tuple[str, ...]


class Sold(Event, type="test.sold", version=1):
    cents: int


def made_up(*topics: Topic, downcasters: tuple[Downcaster, ...] = ()) -> dict[str, Any]:
    """The document of topics, all versions of their types having a schema."""
    contract = Contract(topics, downcasters=downcasters)
    versions = [
        (cls.type, version)
        for cls in contract.classes.values()
        for version in range(1, cls.version + 1)
    ]
    return document(contract, versions, hears={"reader": topics})


def at(pointer: str) -> Any:
    """What a reference names, in the document or in a file beside it."""
    path, _, inner = pointer.partition("#")
    node = json.loads((FILE.parent / path).read_text()) if path else COMMITTED
    for token in inner.split("/")[1:]:
        node = node[token]
    return node


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["$ref"]] if "$ref" in node else []
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from references(inner)


def fits(text: str, shape: dict[str, Any]) -> bool:
    """Whether a header or a field has the shape, as far as these use JSON Schema."""
    return (
        shape.get("const", text) == text
        and shape.get("minLength", 0) <= len(text) <= shape.get("maxLength", len(text))
        and re.search(shape.get("pattern", ""), text) is not None
    )


def is_a(headers: dict[str, str], message: dict[str, Any]) -> bool:
    own = message["headers"]["allOf"][1]["properties"]
    return all(fits(headers[name], shape) for name, shape in own.items())


def test_the_committed_document_is_that_of_the_code(capsys):
    assert main(["--check"]) == 0, f"run `make generate`: {capsys.readouterr().out}"


# --- AsyncAPI 3.0.0 --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objects", "needed", "known"),
    [
        (
            [COMMITTED],
            {"asyncapi", "info"},
            {"id", "servers", "defaultContentType", "channels", "operations", "components"},
        ),
        (
            [COMMITTED["info"]],
            {"title", "version"},
            {"description", "termsOfService", "contact", "license", "tags", "externalDocs"},
        ),
        (
            COMMITTED["channels"].values(),
            {"address", "messages"},
            {"title", "summary", "description", "servers", "parameters", "tags", "externalDocs"}
            | {"bindings"},
        ),
        (
            COMMITTED["operations"].values(),
            {"action", "channel", "messages"},
            {"title", "summary", "description", "security", "tags", "externalDocs", "bindings"}
            | {"traits", "reply"},
        ),
        (
            MESSAGES.values(),
            {"payload"},
            {"headers", "correlationId", "contentType", "name", "title", "summary", "description"}
            | {"tags", "externalDocs", "bindings", "examples", "traits", "deprecated"},
        ),
        (
            [COMMITTED["components"]],
            set(),
            {"schemas", "servers", "channels", "operations", "messages", "securitySchemes"}
            | {"serverVariables", "parameters", "correlationIds", "replies", "replyAddresses"}
            | {"externalDocs", "tags", "operationTraits", "messageTraits", "serverBindings"}
            | {"channelBindings", "operationBindings", "messageBindings"},
        ),
        (
            [channel["bindings"]["kafka"] for channel in COMMITTED["channels"].values()],
            {"bindingVersion"},
            {"topic", "partitions", "replicas", "topicConfiguration"},
        ),
        (
            [
                channel["bindings"]["kafka"]["topicConfiguration"]
                for channel in COMMITTED["channels"].values()
            ],
            {"cleanup.policy"},
            {"retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"},
        ),
        (
            [message["bindings"]["kafka"] for message in MESSAGES.values()],
            {"bindingVersion", "key"},
            {"schemaIdLocation", "schemaIdPayloadEncoding", "schemaLookupStrategy"},
        ),
    ],
)
def test_every_object_has_the_fields_that_the_specification_knows(objects, needed, known):
    for one in objects:
        own = {name for name in one if not re.fullmatch(r"x-[\w.-]+", name)}

        assert needed <= own <= needed | known


def test_every_reference_resolves():
    found = set(references(COMMITTED))

    assert len(found) > 50
    for reference in found:
        assert at(reference), reference


def test_names_of_components_are_such():
    for group in COMMITTED["components"].values():
        for name in group:
            assert re.fullmatch(r"[\w.-]+", name)


def test_an_operation_is_of_one_channel_and_of_messages_that_the_channel_has():
    for operation in COMMITTED["operations"].values():
        channel = operation["channel"]["$ref"]

        assert operation["action"] in {"send", "receive"}
        assert re.fullmatch(r"#/channels/[^/]+", channel)
        assert operation["messages"]
        for message in operation["messages"]:
            assert message["$ref"].rpartition("/")[0] == f"{channel}/messages"
            assert set(at(message["$ref"])) == {"$ref"}


def test_addresses_are_unique_and_are_the_topics():
    addresses = [channel["address"] for channel in COMMITTED["channels"].values()]

    assert addresses == [*CONTRACT.by_name, KEYS_TOPIC]


def test_a_payload_reads_the_same_in_the_draft_that_asyncapi_stands_on():
    """A Schema Object is a superset of draft 7; ours say 2020-12."""
    both = {"$schema", "$id", "$defs", "$ref", "title", "description", "default", "type", "format"}
    both |= {"properties", "required", "additionalProperties", "propertyNames", "items", "enum"}
    both |= {"const", "anyOf", "pattern", "minLength", "maxLength", "minimum", "maximum"}
    beside_a_reference = {"$ref", "title", "description", "default"}

    def check(node: Any) -> None:
        assert node.keys() <= both | {"x-personal"}
        assert "$ref" not in node or node.keys() <= beside_a_reference
        parts = [*node.get("anyOf", ()), *node.get("properties", {}).values()]
        parts += [*node.get("$defs", {}).values(), *node.get("x-personal", {}).values()]
        parts += [node.get(word) for word in ("items", "additionalProperties", "propertyNames")]
        for part in parts:
            if isinstance(part, dict):
                check(part)

    files = list(FOLDER.glob("*/*.json"))
    assert files
    for file in files:
        check(json.loads(file.read_text()))


# --- what travels ----------------------------------------------------------------------------


def test_a_topic_is_sent_by_its_publisher_and_heard_by_those_who_hear_it():
    sent, heard = dict[str, str](), dict[str, set[str]]()
    for operation in COMMITTED["operations"].values():
        topic = operation["channel"]["$ref"].rpartition("/")[2]
        service = operation["tags"][0]["name"]
        if operation["action"] == "send":
            assert sent.setdefault(topic, service) == service
        else:
            heard.setdefault(service, set()).add(topic)

    publishers = {topic.name: topic.publisher for topic in CONTRACT.topics}
    assert sent == publishers | {KEYS_TOPIC: "contacts"}
    for service, topics in HEARD_BY.items():
        names = {topic.name for topic in topics}
        keys = set() if service == "contacts" else {KEYS_TOPIC}
        assert heard[service] == names | keys
        assert all(topic.publisher != service for topic in topics)


@pytest.mark.parametrize(("event_type", "version"), released())
def test_a_released_example_travels_as_its_message_says(event_type, version):
    example = load(event_type, version)
    message = MESSAGES[f"{event_type}.v{version}"]
    headers = {name: content.decode() for name, content in example.headers}
    own = message["headers"]["allOf"][1]["properties"]

    assert headers.keys() == ENVELOPE["properties"].keys() - {"ce_depth"}
    for name, text in headers.items():
        assert fits(text, ENVELOPE["properties"][name]), name
    assert own.keys() == {"ce_type", "ce_source", "ce_dataschema"}
    assert at(message["payload"]["$ref"])["$id"] == headers["ce_dataschema"]
    assert message["contentType"] == headers["content-type"]
    channel = COMMITTED["channels"][CONTRACT.by_type[event_type].name]
    fitting = [name for name in channel["messages"] if is_a(headers, MESSAGES[name])]
    assert fitting == [f"{event_type}.v{version}"]


def test_what_a_reaction_adds_is_described_too():
    recorded = load("contacts.person.linked").recorded()
    deep = replace(recorded, meta={**recorded.meta, "depth": "2"})

    _, _, headers = to_record(deep, publisher="contacts")

    assert {name for name, _ in headers} == set(ENVELOPE["properties"])


def test_what_is_required_of_headers_is_what_every_record_has():
    bare = replace(load("contacts.person.linked").recorded(), meta={})

    _, _, headers = to_record(bare, publisher="contacts")

    assert {name for name, _ in headers} == set(ENVELOPE["required"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ce_sequence", "0"),
        ("ce_sequence", "01"),
        ("ce_streamversion", "-1"),
        ("ce_source", "/elsewhere/contacts"),
        ("ce_dataschema", "https://kith.invalid/schemas/contacts.person.linked"),
        ("ce_dataschema", "https://kith-invalid/schemas/contacts.person.linked/v1"),
        ("ce_specversion", "0.3"),
    ],
)
def test_a_header_that_no_record_has_does_not_fit(name, text):
    assert not fits(text, ENVELOPE["properties"][name])


@pytest.mark.parametrize("state", ["live", "destroyed"])
def test_a_key_record_is_one_of_both_messages(state):
    data = json.loads(load_key_record(state).value)
    fitting = [
        name
        for name in COMMITTED["channels"][KEYS_TOPIC]["messages"]
        if data.keys() >= set(at(MESSAGES[name]["payload"]["$ref"])["required"])
    ]

    assert fitting == [f"{KEYS_TOPIC}.{state}"]
    assert data.keys() == SHARED[f"key-{state}"]["properties"].keys()


def test_a_topic_carries_every_version_and_is_sent_those_that_have_a_class():
    def sent(told: dict[str, Any]) -> list[str]:
        messages = told["operations"]["maker.send.made"]["messages"]
        return [one["$ref"].rpartition("/")[2] for one in messages]

    topic = Topic("made", "maker", (Made2,))
    told = made_up(topic)
    downcaster = Downcaster(Made1, lambda made: Made1(name=made.names[0]))

    assert [*told["channels"]["made"]["messages"]] == ["test.made.v1", "test.made.v2"]
    assert len(told["operations"]["reader.receive.made"]["messages"]) == 2
    assert sent(told) == ["test.made.v2"]
    assert sent(made_up(topic, downcasters=(downcaster,))) == ["test.made.v2", "test.made.v1"]


# --- what breaks subscribers -----------------------------------------------------------------

MADE, SALES = Topic("made", "maker", (Made1,)), Topic("sales", "maker", (Sold,))


@pytest.mark.parametrize(
    ("topics", "place", "what"),
    [
        ((MADE,), "sales", "is no topic any more"),
        ((MADE, replace(SALES, publisher="other")), "sales", 'had x-publisher "maker"'),
        ((MADE, replace(SALES, partitions=24)), "sales", "had bindings"),
        ((replace(MADE, events=(Made1, Sold)), replace(SALES, events=())), "sales", "carries"),
        ((MADE, replace(SALES, name="sold")), "sales", "is no topic any more"),
    ],
)
def test_a_change_of_topics_that_breaks_subscribers_is_named(topics, place, what):
    (told,) = topic_differences(made_up(MADE, SALES), made_up(*topics))

    assert told.place == place
    assert told.what.startswith(what)
    assert told.breaks == (Side.FORMER, Side.STORED)


def test_another_form_of_headers_keys_and_key_records_is_named():
    now = json.loads(json.dumps(made_up(MADE)))
    shapes = now["components"]["schemas"]
    shapes["envelope"]["required"].remove("ce_sequence")
    key = now["components"]["messages"]["test.made.v1"]["bindings"]["kafka"]["key"]
    key["format"] = "email"
    del shapes["key-destroyed"]["properties"]["destroyed"]

    named = {one.place for one in topic_differences(made_up(MADE), now)}

    assert named == {"envelope/ce_sequence", "key of test.made.v1", "key-destroyed/destroyed"}


def test_a_new_topic_type_version_header_and_reader_break_nobody():
    more = made_up(replace(MADE, events=(Made2,)), SALES)
    more["components"]["schemas"]["envelope"] = {
        **ENVELOPE,
        "properties": {**ENVELOPE["properties"], "ce_new": {"type": "string"}},
    }

    assert topic_differences(made_up(MADE), more) == ()


def test_nothing_is_written_over_what_would_break(tmp_path, monkeypatch, capsys):
    committed = tmp_path / "asyncapi.json"
    fewer = json.loads(FILE.read_text())
    fewer["channels"]["contacts.people"]["bindings"]["kafka"]["partitions"] = 6
    committed.write_text(json.dumps(fewer))
    monkeypatch.setattr(asyncapi, "FILE", committed)

    for arguments in ([], ["--check"]):
        assert main(arguments) == 1
        assert "breaking: contacts.people had bindings" in capsys.readouterr().out
    assert json.loads(committed.read_text()) == fewer


def test_a_change_that_breaks_nobody_is_stale_until_it_is_written(tmp_path, monkeypatch, capsys):
    committed = tmp_path / "asyncapi.json"
    monkeypatch.setattr(asyncapi, "FILE", committed)

    stale, written, current = main(["--check"]), main([]), main(["--check"])

    assert (stale, written, current) == (1, 0, 0)
    assert capsys.readouterr().out == "stale: asyncapi.json\nwritten: asyncapi.json\n"
    assert json.loads(committed.read_text()) == COMMITTED
