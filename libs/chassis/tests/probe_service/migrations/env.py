"""Alembic's entrance."""

from alembic import context
from crm_store.migrations.running import run_environment

run_environment(context)
