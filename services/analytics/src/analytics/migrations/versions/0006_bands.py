"""Bands that were told, and when each is to be looked at again."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    # band: the one that was told, null for none. due_at: when time alone ends it, null for never,
    # -infinity where the score moved. changes moves with every write.
    """
    create table band (
        model_id    bigint not null,
        customer_id uuid not null,
        band        text,
        due_at      timestamptz,
        changes     bigint not null default 1,
        primary key (model_id, customer_id)
    ) with (fillfactor = 70)""",
    "create index band_due on band (model_id, due_at) where due_at is not null",
)


def upgrade() -> None:
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
