"""What appends that share a statement came with."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    apply_chassis(op, "v3")
