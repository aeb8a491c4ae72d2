"""Read models that are paused or built anew."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    apply_chassis(op, "v7")
