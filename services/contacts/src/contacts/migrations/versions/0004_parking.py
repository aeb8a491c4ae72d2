"""Keys that a read model goes on without, and what operators did about them."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply_chassis(op, "v4")  # pyright: ignore[reportArgumentType]  # a module that stands for one


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
