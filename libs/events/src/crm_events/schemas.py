"""JSON Schemas of the data of every event, as it is written: `python -m crm_events.schemas`.

Committed beside the package, so that a change of the wire form is seen in a review; one that would
break a reader under the same version is refused (`crm_events.breaking`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic.json_schema import GenerateJsonSchema

from crm_events.breaking import differences
from crm_events.codec import SCHEMA_BASE
from crm_events.personal import Hidden
from crm_events.placement import SEALED_FIELD, placement
from crm_events.topics import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.json_schema import JsonSchemaWarningKind

    from crm_events.base import Event

FOLDER: Final = Path(__file__).parent / "schemas"

_SEALED: Final[dict[str, Any]] = {
    "description": "The personal values, as one ciphertext per subject, by the subject's id.",
    "type": "object",
    "propertyNames": {"format": "uuid"},
    "additionalProperties": {
        "type": "string",
        "pattern": "^[A-Za-z0-9_-]{16}\\.[A-Za-z0-9_-]{22,}$",
    },
}


def main(arguments: list[str] | None = None) -> int:
    """Write the schemas, or with `--check` only say which ones are stale: 1 if any is.

    A change that breaks somebody under the same version is refused: 1, and nothing is written.
    """
    parser = argparse.ArgumentParser(prog="python -m crm_events.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    check = cast("bool", parser.parse_args(arguments).check)
    broken = list(broken_files(CONTRACT.written, FOLDER))
    for name, what in broken:
        sys.stdout.write(f"breaking: {name} {what}\n")
    if broken:
        sys.stdout.write("A breaking change is a new version: CONTRIBUTING.md\n")
        return 1
    stale = list(stale_files(CONTRACT.written, FOLDER))
    for path, text in stale:
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(FOLDER)}\n")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if check and stale else 0


def stale_files(classes: Iterable[type[Event]], folder: Path) -> Iterable[tuple[Path, str]]:
    """Name each file that is not what the classes say, with the text it should have.

    Schemas of versions that no class has any more stay as they are.
    """
    for cls in classes:
        path = folder / cls.type / f"v{cls.version}.json"
        text = json.dumps(schema(cls), indent=2, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text() != text:
            yield path, text


def broken_files(classes: Iterable[type[Event]], folder: Path) -> Iterable[tuple[str, str]]:
    """Name each schema in `folder` that the classes break, with what is broken and for whom."""
    newest: dict[str, int] = {}
    for cls in classes:
        newest[cls.type] = max(cls.version, newest.get(cls.type, 0))
        path = folder / cls.type / f"v{cls.version}.json"
        if path.exists():
            committed = cast("dict[str, Any]", json.loads(path.read_text()))
            for difference in differences(committed, schema(cls)):
                yield f"{cls.type}/v{cls.version}", str(difference)
    for name, version in committed_versions(folder):
        if name not in newest:
            yield f"{name}/v{version}", "is a type of the contract no more"
        elif version > newest[name]:
            yield f"{name}/v{version}", f"was released, and the newest class is v{newest[name]}"


def committed_versions(folder: Path) -> Iterable[tuple[str, int]]:
    """Name every type and version that has a schema, in order."""
    found = [
        (path.parent.name, int(path.stem.removeprefix("v"))) for path in folder.glob("*/v*.json")
    ]
    return sorted(found)


def schema(cls: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the data of `cls`, without what is sealed.

    `x-personal` has the schema of each sealed value, by its pointer; `*` stands for every item of
    an array.
    """
    body = cls.model_json_schema(schema_generator=_Generator, mode="serialization")
    personal = {pointer: _opened(body, pointer) for pointer in placement(cls).pointers()}
    _drop_personal(body)
    if personal:
        body["properties"][SEALED_FIELD] = _SEALED
        body["x-personal"] = personal
    _drop_unused(body)
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"{SCHEMA_BASE}{cls.type}/v{cls.version}",
        **body,
        "title": cls.__name__.removesuffix(str(cls.version)),  # an older class has its number
    }


class _Generator(GenerateJsonSchema):
    # SEALED is the default of what is dropped.
    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        if kind != "non-serializable-default":
            super().emit_warning(kind, detail)


def _opened(body: dict[str, Any], pointer: str) -> dict[str, Any]:
    """Return the schema of a personal value as it is when it is opened."""
    node = body
    for name in pointer.split("/")[1:]:
        node = _present(node, body)
        node = node["items"] if name == "*" else node["properties"][name]
    forms = [form for form in node["anyOf"] if form != Hidden.SCHEMA]
    beside = {word: node[word] for word in ("description",) if word in node}
    return {**forms[0], **beside} if len(forms) == 1 else {"anyOf": forms, **beside}


def _present(node: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Return the object or array that a part is where it is not null."""
    for form in node.get("anyOf", ()):
        if form.get("type") != "null":
            return _present(form, body)
    name: str | None = node.get("$ref")
    return node if name is None else body["$defs"][name.removeprefix("#/$defs/")]


def _drop_personal(node: Any) -> None:  # noqa: ANN401  # JSON
    """Take every property that is marked personal out of every object below `node`."""
    if isinstance(node, list):
        for item in cast("list[Any]", node):
            _drop_personal(item)
    if not isinstance(node, dict):
        return
    members = cast("dict[str, Any]", node)
    properties: dict[str, Any] = members.get("properties", {})
    for name in [name for name, shape in properties.items() if shape.get("x-personal")]:
        del properties[name]
        if name in members.get("required", ()):
            members["required"].remove(name)
    for member in members.values():
        _drop_personal(member)


def _drop_unused(body: dict[str, Any]) -> None:
    """Take out the definitions that only personal properties named."""
    definitions: dict[str, Any] = body.get("$defs", {})
    for _ in range(len(definitions)):  # one may be named by another that goes
        text = json.dumps(body)
        for name in [name for name in definitions if f'"#/$defs/{name}"' not in text]:
            del definitions[name]


if __name__ == "__main__":
    sys.exit(main())
