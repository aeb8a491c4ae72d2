"""Faults are named in the docs as in the catalogue."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fault.catalogue import FAULTS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "guarantees.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]
SHOWN = re.compile(r"^(\| \d+ \||\*\*Shown by\*\*).*$", re.MULTILINE)
NAMED = re.compile(r"`(?P<name>[a-z-]+\.[a-z.-]*)(?P<all>\*)?`")


def unknown(page: str) -> list[str]:
    """The names in what a page says it is shown by that no fault has; `relay.*`: those so begun."""
    names = {fault.name for fault in FAULTS}
    return [
        match[0]
        for line in SHOWN.finditer(page)
        for match in NAMED.finditer(line[0])
        if not (
            any(name.startswith(match["name"]) for name in names)
            if match["all"]
            else match["name"] in names
        )
    ]


def test_every_fault_that_the_docs_name_is_there():
    pages = [page.read_text() for page in PAGES]

    assert sum(len(NAMED.findall(line[0])) for page in pages for line in SHOWN.finditer(page)) > 20
    assert [name for page in pages for name in unknown(page)] == []


def test_a_name_that_no_fault_has_is_found():
    assert unknown("**Shown by** `topics.recreated`, `topics.*` in `make fault`") == [
        "`topics.recreated`"
    ]
