"""Timers that can be made anew from the log."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply_chassis(op, "v6")  # pyright: ignore[reportArgumentType]  # a module that stands for one


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
