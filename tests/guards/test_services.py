"""A service, or a library, that is in the tree is under every contract and check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guards.test_migrations import SERVICES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.name for path in ROOT.glob("*/*/src/*") if (path / "__init__.py").exists())


def named_in(text: str, packages: list[str]) -> list[str]:
    """Those that stand in the text as words of their own."""
    return [name for name in packages if re.search(rf"\b{name}\b", text)]


def roots(contracts: str) -> str:
    text = (ROOT / contracts).read_text()
    return text.split("root_packages =")[1].split("include_external")[0]


@pytest.mark.parametrize("contracts", [".importlinter", ".importlinter-pure"])
def test_import_contracts_name_every_package(contracts):
    needed = [name for name in PACKAGES if name != "crm_stack" or contracts == ".importlinter"]

    assert named_in(roots(contracts), needed) == needed


def test_a_package_that_is_left_out_is_found():
    assert named_in(roots(".importlinter"), ["crm_store", "notes"]) == ["crm_store"]


def test_every_layer_and_the_makefile_name_every_service():
    services = sorted(path.name for path in (ROOT / "services").iterdir() if path.is_dir())
    contracts = (ROOT / ".importlinter").read_text()
    layers = contracts.split("layers =")[1].split("[importlinter")[0]
    packages = (ROOT / "Makefile").read_text().split("PACKAGES :=")[1].splitlines()[0]

    assert named_in(layers, services) == services
    assert named_in(packages, services) == services
    assert sorted(SERVICES) == services
