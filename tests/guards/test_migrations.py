"""A process knows the newest migration by its file's name: Alembic must say the same."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory
from crm_store import migrations
from crm_store.migrations import running

SERVICES = ("contacts", "analytics", "sales")


def told_by_alembic(location):
    scripts = ScriptDirectory.from_config(running._config(location))
    known = {script.revision for script in scripts.walk_revisions()}
    return scripts.get_current_head(), known


@pytest.mark.parametrize("service", SERVICES)
def test_a_migrations_file_bears_its_number(service):
    location = f"{service}:migrations"

    assert migrations._revisions(location) == told_by_alembic(location)


def test_a_file_that_bears_another_is_seen(tmp_path, monkeypatch):
    versions = tmp_path / "numbered_elsewhere" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "numbered_elsewhere" / "__init__.py").touch()
    (tmp_path / "numbered_elsewhere" / "migrations" / "env.py").touch()
    (versions / "0002_second.py").write_text("revision = '0001'\ndown_revision = None\n")
    monkeypatch.syspath_prepend(tmp_path)

    location = "numbered_elsewhere:migrations"

    assert migrations._revisions(location) != told_by_alembic(location)
