"""What the README shows, happens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from crm_events.examples import load
from crm_events.topics import CONTRACT, KEYS_TOPIC

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_its_code_runs(code):
    names: dict[str, object] = {}

    exec(code, names)  # noqa: S102  # our own page

    assert names


def test_its_record_is_the_released_one():
    example = load("contacts.person.registered")
    shown = dict(re.findall(r"^(key|[a-z_-]+) {2,}(\S+)", README, re.MULTILINE))
    shown_data = re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0]

    assert shown.pop("key").encode() == example.key
    for name, content in example.headers:
        assert content.decode().startswith(shown[name].removesuffix("..."))
    whole = json.dumps(json.loads(example.value))
    assert whole.startswith(shown_data.replace("\n", "").split("...")[0])


def test_it_names_every_topic():
    named = re.findall(r"^\| `([a-z.-]+)` \| ", README, re.MULTILINE)

    assert named == [*CONTRACT.by_name, KEYS_TOPIC]
