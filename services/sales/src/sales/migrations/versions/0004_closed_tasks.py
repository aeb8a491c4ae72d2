"""Tasks that need not be done any more, and why."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table task add column reason text")


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
