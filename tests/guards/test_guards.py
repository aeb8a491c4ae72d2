"""Every guard shown red once: a guard that cannot fail guards nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TYPE_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {}"
CONTRACTS = (".importlinter", ".importlinter-pure")


def run(*command: str | Path, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(cwd)},
    )


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("TID251", "from datetime import datetime\n\nNOW = datetime.now()\n"),
        ("TID251", "import time\n\ntime.sleep(1)\n"),
        ("TID251", "from uuid import uuid4\n\nKEY = uuid4()\n"),
        ("T201", 'print("hello")\n'),
        ("BLE001", "try:\n    KEY = 1\nexcept Exception:\n    KEY = 2\n"),
    ],
)
def test_ruff_refuses_what_the_style_bans(rule, code):
    done = run(
        BIN / "ruff",
        "check",
        "--output-format=concise",
        "--stdin-filename=services/contacts/src/contacts/people/made_up.py",
        "-",
        cwd=ROOT,
        stdin=code,
    )

    assert done.returncode == 1
    assert rule in done.stdout


def test_the_type_checker_is_strict(tmp_path):
    (tmp_path / "loose.py").write_text("def double(number):\n    return number * 2\n")
    settings = (ROOT / "pyproject.toml").read_text().split("[tool.basedpyright]")[1]
    settings = settings.split("\n[")[0].replace('include = ["libs", "services"]', "")
    kept = [line for line in settings.splitlines() if not line.startswith(("venv", "stubPath"))]
    (tmp_path / "pyproject.toml").write_text("[tool.basedpyright]" + "\n".join(kept))

    done = run(BIN / "basedpyright", "--pythonpath", sys.executable, cwd=tmp_path)

    assert done.returncode == 1
    assert "reportUnknownParameterType" in done.stdout


@pytest.fixture
def tree(tmp_path):
    """Empty packages under our own import contracts."""
    for contracts in CONTRACTS:
        shutil.copy(ROOT / contracts, tmp_path)
    for source in [*ROOT.glob("libs/*/src"), *ROOT.glob("services/*/src")]:
        for module in source.rglob("*.py"):
            target = tmp_path / module.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("")
            (target.parent / "__init__.py").touch()
    return tmp_path


def kept(tree: Path) -> Iterator[bool]:
    """Whether each file of contracts is kept; the second is asked only by who wants to know."""
    for contracts in CONTRACTS:
        done = run(BIN / "lint-imports", "--no-cache", "--config", contracts, cwd=tree)
        yield done.returncode == 0


def test_the_import_contracts_hold_on_an_empty_tree(tree):
    assert list(kept(tree)) == [True, True]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("contacts/people/decider.py", "import analytics"),
        ("analytics/freshness.py", TYPE_ONLY.format("import contacts")),
        ("crm_events/base.py", "import crm_chassis"),
        ("crm_store/keyring.py", "import contacts"),
        ("crm_store/lease.py", "import crm_kafka"),
        ("crm_projections/model.py", "import crm_kafka.topics"),
        ("crm_kafka/answers.py", "import crm_projections"),
        ("crm_deciding/decider.py", "import crm_chassis.core"),
        ("crm_events/codec.py", "import orjson"),
        ("analytics/bootstrap.py", "import crm_stack"),
        ("contacts/people/decider.py", "import asyncpg"),
        ("contacts/people/decider.py", "import random"),
        ("contacts/timeline/timeline.py", "import structlog"),
        ("analytics/engagement/decay.py", "import time"),
        ("analytics/buying/buying.py", "from crm_store.log import append"),
        ("sales/bootstrap.py", "import contacts"),
        ("sales/deals/decider.py", "import crm_store.clock"),
    ],
)
def test_the_import_contracts_refuse(tree, module, code):
    (tree / module).write_text(code + "\n")

    assert not all(kept(tree))


def test_two_rooms_that_need_each_other_are_refused(tree):
    (tree / "crm_kafka/relay/page.py").write_text("import crm_kafka.restore.reading\n")
    assert all(kept(tree))

    (tree / "crm_kafka/restore/keys.py").write_text("import crm_kafka.relay.progress\n")

    assert not all(kept(tree))
