"""What parking came with."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    apply_chassis(op, "v4")
