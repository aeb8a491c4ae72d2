"""What the service decides by itself: reactions and timers; keys that are waited for."""

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    apply_chassis(op, "v5")
