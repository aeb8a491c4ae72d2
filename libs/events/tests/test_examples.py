"""Golden examples: released, never changed, readable for ever."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from crm_events.blobs import decrypt
from crm_events.examples import TEST_KEK, TEST_KEYS, load, load_key_record, released
from crm_events.examples.__main__ import MANIFEST, add_missing
from crm_events.examples.samples import SAMPLES
from crm_events.keys import Destroyed, read_key_record, unwrap
from crm_events.placement import placement
from crm_events.sealing import personal_fields, read, seal, unseal
from crm_events.topics import CONTRACT
from crm_events.upcasters import upcast

AT = datetime(2026, 3, 1, tzinfo=UTC)
FOLDER = Path(str(files("crm_events.examples")))


def manifest() -> dict[str, str]:
    lines = (FOLDER / MANIFEST).read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.json")
    }


def is_part(whole, part) -> bool:
    """Say whether all of `part` is in `whole`: a later release may have added fields."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and is_part(whole[name], member) for name, member in part.items()
        )
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(is_part, whole, part))
    return whole == part


def test_released_examples_are_append_only():
    assert digests(FOLDER) == manifest()


def test_every_version_of_every_event_has_an_example():
    wanted = {
        (cls.type, version)
        for cls in CONTRACT.classes.values()
        for version in range(1, cls.version + 1)
    }

    assert wanted == set(released())


def test_an_example_is_added_once_and_never_written_again(tmp_path):
    added = add_missing(tmp_path, SAMPLES[:2])
    before = digests(tmp_path)
    again = add_missing(tmp_path, SAMPLES[:2])

    assert len(added) == 8
    assert again == []
    assert digests(tmp_path) == before
    assert len((tmp_path / MANIFEST).read_text().splitlines()) == 8


def test_a_changed_example_does_not_pass(tmp_path):
    add_missing(tmp_path, SAMPLES[:1])
    path = next(tmp_path.rglob("v1.json"))
    released_as = digests(tmp_path)

    path.write_text(path.read_text().replace("41", "42"))

    assert digests(tmp_path) != released_as


@pytest.mark.parametrize(("event_type", "version"), released())
def test_the_present_classes_read_every_released_example(event_type, version):
    example = load(event_type, version)
    recorded = example.recorded()
    cls = CONTRACT.classes[event_type]
    opened = upcast(
        dict(example.opened),
        type=event_type,
        version=version,
        to_version=cls.version,
        upcasters=CONTRACT.upcasters,
    )

    event = read(recorded, CONTRACT, TEST_KEYS)

    assert event == cls.model_validate_json(json.dumps(opened))
    written = json.loads(
        seal(event, event_id=recorded.event_id, subject=recorded.partition_key, keys=TEST_KEYS)
    )
    again = unseal(written, event_id=recorded.event_id, keys=TEST_KEYS)
    assert is_part(again, opened), "a field of a released version was lost"


@pytest.mark.parametrize(("event_type", "version"), released())
def test_what_was_sealed_in_a_released_example_is_personal_still(event_type, version):
    example = load(event_type, version)
    recorded = example.recorded()
    cls = CONTRACT.classes[event_type]
    was_sealed: set[str] = set()
    for key_id, blob in json.loads(example.value).get("sealed", {}).items():
        plain = decrypt(TEST_KEYS[key_id], blob, recorded.event_id.bytes + key_id.encode())
        was_sealed |= json.loads(plain).keys()

    def personal(keys: dict[str, bytes | Destroyed] | None) -> set[str]:
        found: dict[str, object] = {}
        placement(cls).collect(read(recorded, CONTRACT, keys), found)
        return set(found)

    assert bool(was_sealed) == personal_fields(cls)
    assert personal(None) == personal(dict.fromkeys(TEST_KEYS, Destroyed(AT))) == set()
    if version == cls.version:
        assert personal(TEST_KEYS) == was_sealed


def test_the_examples_of_keys_read_as_a_wrapped_key_and_a_destroyed_one():
    live, destroyed = load_key_record("live"), load_key_record("destroyed")

    wrapped = read_key_record(live.key, live.value)
    gone = read_key_record(destroyed.key, destroyed.value)

    key = unwrap(wrapped.wrapped or "", key_id=wrapped.key_id, keks={"test": TEST_KEK})
    assert key == TEST_KEYS[wrapped.key_id] == base64.urlsafe_b64decode(live.opened["key"])
    assert gone.destroyed is not None
    assert gone.destroyed.isoformat() == destroyed.opened["destroyed"]
    assert gone.wrapped is None
