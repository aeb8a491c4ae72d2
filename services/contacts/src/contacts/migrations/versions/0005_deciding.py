"""What the service decides by itself: reactions and timers; keys that are waited for."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply_chassis(op, "v5")  # pyright: ignore[reportArgumentType]  # a module that stands for one


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
