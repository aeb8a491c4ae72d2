"""What Alembic runs: this service's migrations, on the connection it is handed."""

from __future__ import annotations

from alembic import context
from crm_store.migrations.running import run_environment

run_environment(context)  # pyright: ignore[reportArgumentType]  # a module that stands for one
