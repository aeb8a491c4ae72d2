"""JSON Schemas of the data of every event, as it is written: `python -m crm_events.schemas`.

Committed beside the package, so that a change of the wire form is seen in a review.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic.json_schema import GenerateJsonSchema

from crm_events.codec import SCHEMA_BASE
from crm_events.placement import SEALED_FIELD, placement
from crm_events.topics import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    """Write the schemas, or with `--check` only say which ones are stale: 1 if any is."""
    parser = argparse.ArgumentParser(prog="python -m crm_events.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    check = cast("bool", parser.parse_args(arguments).check)
    stale = list(stale_files(CONTRACT.classes, FOLDER))
    for path, text in stale:
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(FOLDER)}\n")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if check and stale else 0


def stale_files(classes: Mapping[str, type[Event]], folder: Path) -> Iterable[tuple[Path, str]]:
    """Name each file that is not what the classes say, with the text it should have.

    Schemas of former versions stay as they are.
    """
    for name, cls in sorted(classes.items()):
        path = folder / name / f"v{cls.version}.json"
        text = json.dumps(schema(cls), indent=2, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text() != text:
            yield path, text


def schema(cls: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the data of `cls`, without what is sealed.

    `x-personal` lists the pointers of what is; `*` stands for every item of an array.
    """
    body = cls.model_json_schema(schema_generator=_Generator, mode="serialization")
    _drop_personal(body)
    _drop_unused(body)
    pointers = placement(cls).pointers()
    if pointers:
        body["properties"][SEALED_FIELD] = _SEALED
        body["x-personal"] = list(pointers)
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"{SCHEMA_BASE}{cls.type}/v{cls.version}",
        **body,
    }


class _Generator(GenerateJsonSchema):
    # SEALED is the default of what is dropped.
    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        if kind != "non-serializable-default":
            super().emit_warning(kind, detail)


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
