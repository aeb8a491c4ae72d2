"""What messages that are part of a trace came with."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    apply_chassis(op, "v8")
