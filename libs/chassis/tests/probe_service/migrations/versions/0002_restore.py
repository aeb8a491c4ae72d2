"""What came with restore."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    apply_chassis(op, "v2")
