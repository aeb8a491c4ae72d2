"""Messages that nobody needs any more."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply_chassis(op, "v9")  # pyright: ignore[reportArgumentType]  # a module that stands for one


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
