"""Timers that can be made anew from the log."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    apply_chassis(op, "v6")
