"""AGENTS.md names, for each invariant, the tests that hold it: they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = re.compile(r"`(?P<short>[A-Z])` (?:is|=) `(?P<folder>[\w./-]+)`")
NAMED = re.compile(r"`(?P<file>[\w./-]+\.py)?::(?P<test>test_\w+)`")


def missing(page: str) -> list[str]:
    """The tests that a page names and that are not there; `::name` is in the file named before."""
    folders = {match["short"]: match["folder"].rstrip("/") for match in FOLDER.finditer(page)}
    lost: list[str] = []
    file = ""
    count = 0
    for match in NAMED.finditer(page):
        file, count = match["file"] or file, count + 1
        short, _, rest = file.partition("/")
        path = ROOT / (f"{folders[short]}/{rest}" if short in folders else file)
        defined = re.compile(rf"^(async )?def {match['test']}\(", re.MULTILINE)
        if not path.exists() or not defined.search(path.read_text()):
            lost.append(f"{file}::{match['test']}")
    assert count, "the page names no test"
    return lost


def test_every_test_that_the_page_names_is_there():
    assert missing((ROOT / "AGENTS.md").read_text()) == []


def test_a_name_that_is_not_there_is_found():
    page = "`tests/guards/test_agents_page.py::test_nobody_wrote_this`"

    assert missing(page) == [page.strip("`")]
