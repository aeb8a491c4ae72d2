"""Alembic's entrance."""

from alembic import context
from crm_chassis.migrations.running import run_environment

run_environment(context)
