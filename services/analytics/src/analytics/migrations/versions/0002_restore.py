"""An epoch is one run of one server, settled once the log was compared with Kafka."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply_chassis(op, "v2")  # pyright: ignore[reportArgumentType]  # a module that stands for one


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
