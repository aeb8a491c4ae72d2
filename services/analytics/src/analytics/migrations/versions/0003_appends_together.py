"""Appends of one process that are asked for at the same time share a statement."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply_chassis(op, "v3")  # pyright: ignore[reportArgumentType]  # a module that stands for one


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
