from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = Path(__file__).parent / "peers" / "engines"
"""They run in an environment of their own."""
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in Path(__file__).parent.rglob("[!_]*.py")
    if ENGINES not in path.parents and not path.name.startswith("test_")
)


@pytest.mark.parametrize("module", MODULES)
def test_what_a_row_runs_as_a_process_finds_what_it_takes_from_the_product(module):
    assert importlib.import_module(module)
