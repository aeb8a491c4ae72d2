"""What messages that nobody needs any more came with."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    apply_chassis(op, "v9")
