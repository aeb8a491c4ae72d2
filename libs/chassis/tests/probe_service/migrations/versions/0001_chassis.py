"""The chassis' tables."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0001"
down_revision = None


def upgrade() -> None:
    apply_chassis(op, "v1")
